"""Training a classifier, or a network for masks, from shards, and evaluating it on strictly real images.

training_data      the streams to train on and to evaluate on; the mix
network_factory    networks with their first weights; files of trained ones
models             the plug-ins, one file each; `networks` holds our own architectures
augmentation       random changes of images, drawn for each image from (seed, step)
loss               the loss of a batch
trainer            the loop of one worker; train_worker: its device, and its communication with the others
evaluate           predictions of a network; metrics: their scores
history            a row for each step
classifier_job     one training in a folder: its files, and whether it is done; train_result: its scores
holdout            predictions on photos that no split holds
feature_classifier a network for features of images, trained on the world split

Randomness follows from (seed, step, position in the global batch). Neither resuming nor the number of workers changes
it.
"""
