"""Operations written so that XLA runs them fast: each equals its plain form in value and gradient."""

from echojax.ops.batch_norm import batch_norm
from echojax.ops.convolution import conv
from echojax.ops.depthwise import depthwise_conv
from echojax.ops.pooling import max_pool
from echojax.ops.recurrence import LSTMState, conv_lstm, zero_lstm_state
from echojax.ops.reductions import spatial_sum

__all__ = [
    "LSTMState",
    "batch_norm",
    "conv",
    "conv_lstm",
    "depthwise_conv",
    "max_pool",
    "spatial_sum",
    "zero_lstm_state",
]
