"""Your own labelled photos, from a folder to a model and its answer.

The folder has one folder a class, such as mine/happy/1.jpg and mine/bored/2.jpg. Needs mien[train].

python examples/own_data.py mine/ runs/mine photo.jpg
"""

import sys
from pathlib import Path

import mien
from mien import train


def tell(epoch: train.Epoch) -> None:
    print(f"epoch {epoch.epoch}: {epoch.val_accuracy:.0%} of the validation images right")


mine, run, photo = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
faces = mien.data.load_any(mine)  # cuts the face out of each photo
print(faces.counts())

config = train.plan(train.FINETUNE, [faces])  # settings that fit the number of images
best = train.fit(config, faces, run, on_epoch=tell)
fp32, int8 = train.export_all(best, run, faces, mien.__version__)

print(mien.load(int8)(photo))
