"""Explain a vision model while it trains, and have a vision-language model judge where it looks."""
