"""echojax: heart function from ultrasound video, in JAX. Research use only, not a medical device."""

__version__ = "0.1.0"
