# The server with the web page, as a user without rights. Not built by the tests: they run where there is no Docker.
#   make web && docker compose up --build
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN test -f src/mien/serve/static/models/models.json || { echo "run 'make web' first"; exit 1; }
RUN python -m venv /mien && /mien/bin/pip install --no-cache-dir -c requirements-dev.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home mien
COPY --from=build /mien /mien
USER 10001
ENV PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
# Not /ready: a full queue is not ill.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["/mien/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Other machines reach it: it asks for the token in MIEN_TOKEN and does not start without one.
CMD ["/mien/bin/mien", "serve", "--host", "0.0.0.0"]
