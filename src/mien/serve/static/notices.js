// Words for a person: the status line, what screen readers say, notes to be read, alerts.

const $ = (id) => document.getElementById(id);

export function say(words) {
  $("status").textContent = words;
}

/** For screen readers too. */
export function announce(words) {
  say(words);
  $("said").textContent = words;
}

/** Something that a person should know, until they have read it. */
export function note(words) {
  $("note-words").textContent = words;
  $("note").hidden = false;
}

/** @param {boolean} lasting whether opening something else does not help, but trying again may. */
export function alarm(error, lasting = false) {
  $("alert-words").textContent = error.message;
  $("alert").hidden = false;
  if (lasting) $("retry").hidden = false;
}

export function hideAlert() {
  if ($("retry").hidden) $("alert").hidden = true;
}
