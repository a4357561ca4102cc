/* Preloaded into a process, this library hides instructions from all that is loaded after it: AVX-512, VNNI and AMX, so
   that a processor that has them runs the code paths of one that has only AVX2, or with HIDE=amx in the environment AMX
   alone. It makes the instruction cpuid fault (Linux on x86-64, where /proc/cpuinfo has the flag cpuid_fault) and answers
   it without the bits of what is hidden. Threads inherit this; in other programs that the process starts, LD_PRELOAD loads
   the library again. */

#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static long set_cpuid(int allowed) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed); }

static int amx_alone;

static void without(unsigned leaf, unsigned subleaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
  if (leaf == 7 && subleaf == 0 && amx_alone) {
    *d &= ~(1u << 22 | 1u << 24 | 1u << 25);
  } else if (leaf == 7 && subleaf == 0) {
    *b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31); /* AVX-512 */
    *c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14); /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    *d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25); /* AMX, FP16, the rest */
  } else if (leaf == 7 && subleaf == 1 && amx_alone) {
    *a &= ~(1u << 21);
    *d &= ~(1u << 8);
  } else if (leaf == 7 && subleaf == 1) {
    *a &= ~(1u << 4 | 1u << 5 | 1u << 21 | 1u << 23); /* AVX-VNNI, BF16, AMX-FP16, AVX-IFMA */
    *d &= ~(1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19); /* AVX-VNNI-INT8, NE-CONVERT, AMX, VNNI-INT16, AVX10 */
  }
}

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)info;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (code[0] != 0x0f || code[1] != 0xa2) { /* no cpuid: a fault of the program */
    signal(number, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX], a, b, c, d;
  set_cpuid(1);
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(subleaf));
  set_cpuid(0);
  without(leaf, subleaf, &a, &b, &c, &d);
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  const char *hidden = getenv("HIDE");
  amx_alone = hidden && !strcmp(hidden, "amx");
  setenv("MIEN_AMX", "0", 1); /* mien asks Linux */
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGSEGV, &action, NULL) || set_cpuid(0)) {
    fputs("this machine cannot hide instructions\n", stderr);
    exit(1);
  }
}
