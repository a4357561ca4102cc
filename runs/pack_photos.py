import zipfile, sys, numpy as np
import mien
from mien import image
from concurrent.futures import ThreadPoolExecutor
p = mien.load(threads=1)
from mien.types import EMOTIONS7
for which in ("train","dev"):
    z = zipfile.ZipFile(f"/work/shared/data/photos_{which}.zip")
    names = sorted(n for n in z.namelist() if n.lower().endswith((".jpg",".jpeg",".png")))
    crops, ts, ok, missed = [], [], [], 0
    for n in names:
        im = image.decode(z.read(n), n)
        faces = p.detector(im)
        if not faces:
            missed += 1; continue
        h, w = im.shape[:2]
        def off(f):
            x1,y1,x2,y2=f.box
            return np.hypot((x1+x2)/2-w/2,(y1+y2)/2-h/2) - 0.5*max(x2-x1,y2-y1)
        f = min(faces, key=off)
        crops.append(image.crop(im, f)); ts.append(EMOTIONS7.index(n.split("/")[-2])); ok.append(n)
    print(which, len(names), "missed", missed, np.bincount(ts, minlength=7), flush=True)
    np.savez(f"runs/photos_{which}.npz", images=np.stack(crops), targets=np.array(ts), names=np.array(ok))
