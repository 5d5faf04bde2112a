"""The embedded judge: overlap with ground-truth object masks. It is not a vision-language model."""
