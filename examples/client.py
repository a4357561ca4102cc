"""A picture sent to a running `mien serve`, with nothing but the standard library.

python examples/client.py photo.jpg http://127.0.0.1:8000
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path

path = Path(sys.argv[1])
picture = {"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()}
body = json.dumps({"images": [picture]}).encode()
request = urllib.request.Request(f"{sys.argv[2]}/v1/predict", body, {"Content-Type": "application/json"})
with urllib.request.urlopen(request) as answer:
    (result,) = json.load(answer)["results"]
for face in result["faces"]:
    print(f"{face['emotion']} {face['confidence']:.0%} at {face['box']}")
