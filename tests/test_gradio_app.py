"""The Gradio app in examples/: its function here, the page itself where gradio is installed (pip install gradio)."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien

APP = Path(__file__).parents[1] / "examples" / "gradio_app.py"
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def test_function_returns_the_annotated_image_and_the_probabilities() -> None:
    analyse = runpy.run_path(str(APP))["analyse"]
    portrait = np.asarray(Image.open(PORTRAIT))
    drawn, probabilities = analyse(portrait)
    assert drawn.shape == portrait.shape and (drawn != portrait).any()
    assert (drawn[-50:] == portrait[-50:]).all()  # still RGB
    assert set(probabilities) == set(mien.EMOTIONS) and max(probabilities, key=probabilities.get) == "happy"
    assert analyse(np.zeros_like(portrait))[1] == {}


@pytest.mark.filterwarnings("default")  # those of Gradio's client
def test_page_answers_over_http() -> None:
    pytest.importorskip("gradio", reason="gradio is not installed; it is large, and only this example uses it")
    from gradio_client import Client, handle_file

    command = [sys.executable, "-u", str(APP)]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://[\w.:]+", line)))
            image, label = Client(address, verbose=False).predict(handle_file(str(PORTRAIT)), api_name="/analyse")
        finally:
            process.terminate()
    with Image.open(image) as drawn:
        assert drawn.size == (512, 512)
    assert label["label"] == "happy"
