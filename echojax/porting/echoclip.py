"""The table of EchoCLIP as open_clip names it: ConvNeXt of any depths (timm's names) and CLIP's Transformer.

Its checkpoints are bare weights; `ECHOCLIP_PREPROCESSING` is what they were trained with.
"""

from echojax.porting.names import LAYER_NORM, WEIGHTED, Leaf, Repeat, Row, Table
from echojax.preprocessing import Preprocessing

_STAGE = "visual.trunk.stages.{stage}"
_BLOCK = _STAGE + ".blocks.{block}"
_OUR_STAGE = "image.stages.{stage}"
_OUR_BLOCK = _OUR_STAGE + ".blocks.{block}"
_LAYER = "transformer.resblocks.{layer}"
_OUR_LAYER = "text.blocks.{layer}"

_IMAGE_STAGE = (
    Row(_STAGE + ".downsample.0", _OUR_STAGE + ".norm", LAYER_NORM),
    Row(_STAGE + ".downsample.1", _OUR_STAGE + ".conv", WEIGHTED),
    Repeat(
        "block",
        (
            Row(_BLOCK, _OUR_BLOCK, (Leaf("gamma", "gamma"),)),
            Row(_BLOCK + ".conv_dw", _OUR_BLOCK + ".conv", WEIGHTED),
            Row(_BLOCK + ".norm", _OUR_BLOCK + ".norm", LAYER_NORM),
            Row(_BLOCK + ".mlp.fc1", _OUR_BLOCK + ".fc1", WEIGHTED),
            Row(_BLOCK + ".mlp.fc2", _OUR_BLOCK + ".fc2", WEIGHTED),
        ),
    ),
)

_TEXT_LAYER = (
    Row(_LAYER + ".ln_1", _OUR_LAYER + ".norm1", LAYER_NORM),
    # Queries, keys and values in one matrix on both sides.
    Row(
        _LAYER + ".attn",
        _OUR_LAYER + ".attention.qkv",
        (Leaf("in_proj_weight", "kernel", is_kernel=True), Leaf("in_proj_bias", "bias")),
    ),
    Row(_LAYER + ".attn.out_proj", _OUR_LAYER + ".attention.out", WEIGHTED),
    Row(_LAYER + ".ln_2", _OUR_LAYER + ".norm2", LAYER_NORM),
    Row(_LAYER + ".mlp.c_fc", _OUR_LAYER + ".fc1", WEIGHTED),
    Row(_LAYER + ".mlp.c_proj", _OUR_LAYER + ".fc2", WEIGHTED),
)

ECHOCLIP = Table(
    network="echoclip",
    entries=(
        Row(
            "",
            "",
            (
                Leaf("positional_embedding", "text.positional_embedding"),
                # Multiplied from the right in PyTorch too: not turned.
                Leaf("text_projection", "text.projection"),
                Leaf("logit_scale", "logit_scale"),
            ),
        ),
        Row("visual.trunk.stem.0", "image.conv", WEIGHTED),
        Row("visual.trunk.stem.1", "image.norm", LAYER_NORM),
        Repeat("stage", _IMAGE_STAGE),
        Row("visual.trunk.head.norm", "image.head_norm", LAYER_NORM),
        Row("visual.head.proj", "image.projection", WEIGHTED),
        Repeat("layer", _TEXT_LAYER),
        Row("token_embedding", "text", (Leaf("weight", "token_embedding"),)),
        Row("ln_final", "text.norm", LAYER_NORM),
    ),
    ignored={"attn_mask": "the causal mask, which is computed"},
)

# open_clip's default, in shares of 255; the file open_clip_config.json beside the weights would say if it were another.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

ECHOCLIP_PREPROCESSING = Preprocessing(
    mean=tuple(255 * value for value in _MEAN),
    std=tuple(255 * value for value in _STD),
    size=(224, 224),
    num_frames=0,
    period=1,
    in_channels=3,
    source="OpenAI CLIP's, open_clip's default",
)
