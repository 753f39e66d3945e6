"""The tables of residual networks: DeepLabV3-ResNet50, its backbone, and the video networks of 18 layers."""

import dataclasses
import itertools

from echojax.porting.names import NORM, WEIGHTED, Repeat, Row, Table


def _conv_norm(torch_conv: str, torch_norm: str, ours: str) -> tuple[Row, Row]:
    return Row(torch_conv, f"{ours}.conv", WEIGHTED), Row(torch_norm, f"{ours}.bn", NORM)


_BLOCK = "layer{layer}.{block}"
_SHORTCUT = _conv_norm(f"{_BLOCK}.downsample.0", f"{_BLOCK}.downsample.1", f"{_BLOCK}.downsample")
_FC = Row("fc", "fc", WEIGHTED)


def _blocks(*rows: Row) -> Repeat:
    """Rows of `layer1.0`, `layer1.1`, ... `layer4.n`."""
    return Repeat("layer", (Repeat("block", rows),), start=1)


def _bottlenecks(prefix: str) -> tuple[Row | Repeat, ...]:
    """ResNet-50 without its classifier, in a module of this name on both sides."""
    block = f"{prefix}{_BLOCK}"
    convs = [Row(f"{block}.conv{i}", f"{block}.conv{i}", WEIGHTED) for i in (1, 2, 3)]
    norms = [Row(f"{block}.bn{i}", f"{block}.bn{i}", NORM) for i in (1, 2, 3)]
    shortcut = _conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", f"{block}.downsample")
    stem = Row(f"{prefix}conv1", f"{prefix}conv1", WEIGHTED), Row(f"{prefix}bn1", f"{prefix}bn1", NORM)
    return *stem, _blocks(*itertools.chain(*zip(convs, norms, strict=True)), *shortcut)


RESNET = Table(
    network="resnet50",
    entries=_bottlenecks(""),
    ignored={"fc.": "the classifier of ImageNet; segmentation trains a head of its own"},
)

DEEPLAB = Table(
    network="deeplabv3_resnet50",
    entries=(
        *_bottlenecks("backbone."),
        *_conv_norm("classifier.0.convs.0.0", "classifier.0.convs.0.1", "aspp.branches.0"),
        *_conv_norm("classifier.0.convs.1.0", "classifier.0.convs.1.1", "aspp.branches.1"),
        *_conv_norm("classifier.0.convs.2.0", "classifier.0.convs.2.1", "aspp.branches.2"),
        *_conv_norm("classifier.0.convs.3.0", "classifier.0.convs.3.1", "aspp.branches.3"),
        # Module 0 of this branch is the pooling.
        *_conv_norm("classifier.0.convs.4.1", "classifier.0.convs.4.2", "aspp.pooled"),
        *_conv_norm("classifier.0.project.0", "classifier.0.project.1", "aspp.project"),
        Row("classifier.1", "conv", WEIGHTED),
        Row("classifier.2", "bn", NORM),
        Row("classifier.4", "out", WEIGHTED),
    ),
    ignored={"aux_classifier.": "the auxiliary head of COCO weights; CSS trains without one"},
)

R2PLUS1D = Table(
    network="r2plus1d_18",
    entries=(
        *_conv_norm("stem.0", "stem.1", "stem.spatial"),
        *_conv_norm("stem.3", "stem.4", "stem.temporal"),
        _blocks(
            *_conv_norm(f"{_BLOCK}.conv1.0.0", f"{_BLOCK}.conv1.0.1", f"{_BLOCK}.conv1.spatial"),
            *_conv_norm(f"{_BLOCK}.conv1.0.3", f"{_BLOCK}.conv1.1", f"{_BLOCK}.conv1.temporal"),
            *_conv_norm(f"{_BLOCK}.conv2.0.0", f"{_BLOCK}.conv2.0.1", f"{_BLOCK}.conv2.spatial"),
            *_conv_norm(f"{_BLOCK}.conv2.0.3", f"{_BLOCK}.conv2.1", f"{_BLOCK}.conv2.temporal"),
            *_SHORTCUT,
        ),
        _FC,
    ),
)

MC3 = Table(
    network="mc3_18",
    entries=(
        *_conv_norm("stem.0", "stem.1", "stem"),
        _blocks(
            *_conv_norm(f"{_BLOCK}.conv1.0", f"{_BLOCK}.conv1.1", f"{_BLOCK}.conv1"),
            *_conv_norm(f"{_BLOCK}.conv2.0", f"{_BLOCK}.conv2.1", f"{_BLOCK}.conv2"),
            *_SHORTCUT,
        ),
        _FC,
    ),
)

R3D = dataclasses.replace(MC3, network="r3d_18")

TABLES = {table.network: table for table in (DEEPLAB, R2PLUS1D, MC3, R3D)}
