"""Operations written so that XLA runs them fast: each equals its plain form in value and gradient."""

from echojax.ops.batch_norm import batch_norm
from echojax.ops.convolution import conv
from echojax.ops.depthwise import depthwise_conv
from echojax.ops.recurrence import LSTMState, conv_lstm, zero_lstm_state

__all__ = ["LSTMState", "batch_norm", "conv", "conv_lstm", "depthwise_conv", "zero_lstm_state"]
