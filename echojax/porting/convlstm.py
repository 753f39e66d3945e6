"""The table of EchoDFKD's ConvLSTM student, of any number of blocks and layers."""

from echojax.porting.names import NORM, WEIGHTED, Repeat, Row, Table

_LAYERS = "conv_lstm_blocks.{block}.conv_lstm_layers"
_STEPS = "conv_lstm_upsampling.{step}.conv_lstm_layers"

CONVLSTM = Table(
    network="convlstm",
    entries=(
        Repeat(
            "block",
            (
                Repeat(
                    "layer",
                    (
                        Row(_LAYERS + ".{recurrent}.cell.conv", "encoder.{block}.{layer}.conv", WEIGHTED),
                        Row(_LAYERS + ".{norm}.layer", "encoder.{block}.{layer}.bn", NORM),
                    ),
                    # PyTorch counts recurrent layers and norms through.
                    derived={"recurrent": lambda layer: 2 * layer, "norm": lambda layer: 2 * layer + 1},
                ),
            ),
        ),
        Repeat(
            "step",
            (
                # Module 0 is the upsampling.
                Row(_STEPS + ".1.layer", "decoder.{step}.conv", WEIGHTED),
                Row(_STEPS + ".2.layer", "decoder.{step}.bn", NORM),
            ),
        ),
        Row("output_layer.layer", "out", WEIGHTED),
    ),
)
