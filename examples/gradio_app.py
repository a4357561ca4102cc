"""A web page that takes an image, or one of the webcam, and shows the faces and the probabilities of the largest one.

pip install gradio
python examples/gradio_app.py
"""

import mien

pipeline = mien.load()


def analyse(image):  # uint8 RGB (H, W, 3)
    result = pipeline(image, rgb=True)
    return result.plot(rgb=True), dict(result[0].probabilities) if result else {}


if __name__ == "__main__":
    import gradio

    outputs = [gradio.Image(label="faces"), gradio.Label(label="largest face")]
    off = {"flagging_mode": "never", "analytics_enabled": False}  # nothing is stored or sent
    gradio.Interface(analyse, gradio.Image(), outputs, title="mien", **off).launch(show_error=True)
