"""Fine-tuning a generator on a few real images of rare classes: LoRA adapters, with prior preservation."""
