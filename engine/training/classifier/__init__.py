"""Training a classifier, or a network for masks, from shards, and judging it on strictly real images.

    data       what is trained and judged on; the mix
    models     networks by name, their first weights, files of trained ones; networks: those of our own
    augment    changes of images, drawn for each image from (seed, step)
    schedule   the learning rate of a step
    objective  the loss of a batch
    trainer    the loop of one worker; worker: its device, and how it speaks to the others
    evaluate   predictions of a network; metrics: what they are worth
    history    a row for each step; checkpoint: where a killed training goes on
    job        one training in a folder: its files, and whether it is done
    photos     a network's opinion of somebody's own photographs

Randomness follows from (seed, step, place in the global batch): neither resuming nor the number of workers changes it.
"""
