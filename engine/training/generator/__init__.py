"""Training the embedded text-to-image generator: measured captions, an autoencoder, a denoiser, and its model card."""
