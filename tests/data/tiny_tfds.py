"""Writes small prepared tensorflow-datasets by hand, as TensorFlow would, but without it."""

import io
import json

import numpy as np
from PIL import Image

FEATURES = "tensorflow_datasets.core.features"
SUPERVISED = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}


def encode(pixels, kind="PNG"):
    """Pixels as the bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def prepare(
    folder,
    splits,
    *,
    shape=(6, 5, 1),
    name="tiny",
    dtype="uint8",
    supervised=SUPERVISED,
    label_class="class_label_feature.ClassLabel",
    classes=3,
    file_format="array_record",
):
    """Write `splits`, lists of (encoded image, label), as the dataset `name` version 1.0.0 below `folder`."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    directory = folder / name / "1.0.0"
    directory.mkdir(parents=True)
    stem = name.split("/")[0]
    infos = []
    for split, examples in splits.items():
        writer = ArrayRecordWriter(str(directory / f"{stem}-{split}.{file_format}-00000-of-00001"), "group_size:1")
        for image, label in examples:
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(image)
            example.features.feature["label"].int64_list.value.append(label)
            writer.write(example.SerializeToString())
        writer.close()
        infos.append(
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": "1",
                "shardLengths": [str(len(examples))],
            }
        )
    dimensions = [str(n) if n is not None else "-1" for n in shape]
    label = {"pythonClassName": f"{FEATURES}.{label_class}"}
    if "ClassLabel" in label_class:
        label["classLabel"] = {"numClasses": str(classes)}
    else:
        label["tensor"] = {"shape": {}, "dtype": "int64", "encoding": "none"}
    features = {
        "pythonClassName": f"{FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": f"{FEATURES}.image_feature.Image",
                    "image": {"dtype": dtype, "shape": {"dimensions": dimensions}},
                },
                "label": label,
            }
        },
    }
    info = {"name": stem, "version": "1.0.0", "fileFormat": file_format, "splits": infos}
    if supervised is not None:
        info["supervisedKeys"] = supervised
    (directory / "dataset_info.json").write_text(json.dumps(info))
    (directory / "features.json").write_text(json.dumps(features))
    return folder


def examples(count, shape=(6, 5), seed=0, classes=3):
    """`count` random images with labels that go round, encoded, and their pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)
    return [(encode(image), index % classes) for index, image in enumerate(pixels)], pixels
