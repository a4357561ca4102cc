"""The server: REST, WebSocket, metrics and the page. The only folder that may import fastapi."""
