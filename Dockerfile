# The server with the web page, run by an unprivileged user:
#   make web && docker compose up --build
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN test -f src/mien/serve/static/models/models.json || { echo "run 'make web' first"; exit 1; }
# Constraints may have no extras, such as ray[data].
RUN sed 's/\[[^]]*\]//' requirements-dev.txt > constraints.txt
RUN python -m venv /mien && /mien/bin/pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home mien
COPY --from=build /mien /mien
USER 10001
ENV PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
# Not /ready: a server with a full queue is healthy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["/mien/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Other machines can reach it, so it needs the token in MIEN_TOKEN.
CMD ["/mien/bin/mien", "serve", "--host", "0.0.0.0"]
