"""Every field of every stage, once, with its meaning and unit. No logic.

A stage's config starts from here and changes what its paper says. On the command line any field can be set, for
instance `--config.optimiser.learning_rate=1e-4`; a misspelt name is an error that names the nearest one.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the fields shared by all stages, with the defaults of the CSS paper's released commands."""
    return ConfigDict(
        {
            "smoke": False,  # set by the variant `:smoke`; its results go below runs/smoke
            "stage": "",  # a module of echojax/stages (css, teacher, kd, dfkd, ...) or of echojax/pipelines
            "seed": 0,  # initialisation, dropout, order of videos, clip starts and crops
            # Where a stage's inputs are.
            "data_dir": "data/echonet",  # records made by `python -m data_prep`
            "masks_dir": "runs/css/masks",  # masks of every frame, made by configs/css.py or configs/dfkd_targets.py
            "teacher_dir": "runs/teacher",  # checkpoint of the teacher: multi-modal (kd) or segmenting (dfkd_targets)
            "echoclip_dir": "weights/echoclip",  # EchoCLIP, from `echojax port`; where it is missing it is left out
            "init_from": "",  # checkpoint with weights to start from, or "random"
            "names": "",  # text file, one name a line: only these videos are inferred and evaluated; "" is all
            "data": {
                "resident": "",  # keep what is trained on in memory: "device" (accelerators), "host", or "" (stream)
                "cache_dir": "~/.cache/echojax/data",  # local copies of what data_dir and masks_dir name at gs://
            },
            # Which videos carry labels.
            "labels": {
                "subset": "ssl",  # "ssl": a labelled and an unlabelled part of TRAIN; "all": all of TRAIN is labelled
                "num_labelled": -1,  # videos; -1 is 920 of 7465, in proportion for other sizes
                "num_unlabelled": -1,  # videos; -1 is 6440 of 7465, in proportion for other sizes
                "ed_es_order": "area",  # "area": the larger traced area is ED; "rows": the first traced frame is ES
                "require_tracings": False,  # True drops untraced videos everywhere, as the original does
            },
            "network": {
                "variant": "r2plus1d_18",  # video network: r2plus1d_18, mc3_18 or r3d_18
                "width": 64,  # channels of the first stage; every other width scales with it
                "blocks": (0,),  # residual blocks per stage; (0,) is the network's own depth
                "decoder": 0,  # channels of DeepLabV3+'s decoder, for finer borders; 0 is DeepLabV3, which has none
                "fourth_channel_init": "uniform",  # new stem kernels of the mask channel: "uniform" U(-1, 1), or "zero"
                "initial_ef": 55.6,  # percent; bias of the new output layer
                "dtype": "float32",  # of the computation: float32 or bfloat16; parameters and statistics stay float32
            },
            "clip": {
                "num_frames": 32,  # frames per clip
                "period": 2,  # every how many frames of the video
                "decimate": 1,  # the EF networks see every so many-th row and column; the papers' see all
                "pad": 12,  # pixels; random shift in training
                "mask_pad": -1.0,  # mask channel outside the picture: -1 is background, 0 (the original's) is undecided
                "sampling": "uniform",  # of distillation clips: "uniform", or "annotated" (contains a traced frame)
            },
            "css": {
                "loss_weight": 0.01,  # of the cyclic loss
                "num_frames": 40,  # frames of the unlabelled clip
                "period": 3,  # every how many frames of the video
                "template": 15,  # frames in which the phase to match is chosen
                "chunk": 3,  # frames per phase
                "offset": 2,  # frames between the phase that is matched and the one that is cycled back
                "temperature": 10.0,  # multiplies the similarities
                "start_epoch": 0,  # epochs of supervision alone before the cyclic loss counts
            },
            "kd": {
                "unlabelled_weight": 5.0,  # w_unlb; the loss holds one half of it times the squared error
                "unlabelled_batch_size": 10,  # clips per step
            },
            "dfkd": {
                "variant": "reference",  # the student: "reference" is the paper's, "improved" ours
                "num_blocks": 3,  # k: blocks, halving the maps between them
                "num_layers": 3,  # n: ConvLSTM layers per block
                "width": 12,  # channels of the first block, doubled in each further one
                "recipe": "soft112",  # targets and frames: soft112, soft56 or hard112 (echojax.clips.STUDENT_RECIPES)
                "periods": (1,),  # a clip takes every so many-th frame of the video; one of these, drawn per clip
                "dice_weight": 0.0,  # of the Dice loss beside the cross-entropy
            },
            "seg_masks": {
                "dice_weight": 1.0,  # of the Dice loss beside the cross-entropy
            },
            # How strongly training pictures of seg_masks are changed, 0 to 1; echojax/augment.py says what each is.
            "augment": {
                "geometry": 0.0,
                "gray": 0.0,
                "texture": 0.0,
                "cuts": 0.0,
                "marks": 0.0,
                "share": 1.0,  # of the pictures; the others stay as they are
            },
            "optimiser": {
                "name": "sgd",  # "sgd", or "adam" for training from random weights
                "learning_rate": 1e-4,
                "schedule": "step",  # "step", or "cosine" to zero over the run
                "momentum": 0.9,
                "weight_decay": 1e-4,  # added to the gradient of every parameter, norms and biases included
                "decay_epochs": 15,  # the rate falls by decay_factor every so many epochs; 0 keeps it
                "decay_factor": 0.1,
            },
            "train": {
                "batch_size": 20,  # labelled videos per step, over all devices
                "accumulate": 1,  # parts in which a batch is computed one after the other, in the memory of one
                "num_epochs": 25,
                "max_steps": -1,  # stop after so many steps; -1 is after num_epochs
                "patience": 0,  # stop after so many validations without a better one; 0 never
                "checkpoint_epochs": 1,  # epochs between checkpoints
                "checkpoint_steps": 0,  # steps between further checkpoints within an epoch; 0 is none
                "keep_checkpoints": 2,  # newest checkpoints kept
                "log_steps": 10,  # steps between lines of log.jsonl
                "num_threads": 2,  # reading threads
                "prefetch": 8,  # batches read ahead
            },
            "mesh": {
                "shard_params": False,  # True splits parameters and optimiser state over the devices: less memory each
            },
            "validation": {
                "every_epochs": 1,
                "num_passes": 3,  # EF: passes over VAL with one random clip per video, averaged
                "batch_size": 20,
                "selection": "per_pixel",  # segmentation: "per_pixel" or "original" (batch sums weighted by batch size)
            },
            "evaluation": {
                "splits": ("VAL", "TEST"),  # evaluated after training and by --mode=evaluate
                "all_clips": True,  # average over every start of every video
                "one_clip_seeds": (0, 1, 2, 3, 4),  # one random clip per video, once per seed
                "clip_stride": 1,  # frames between the starts of "all" clips
                "batch_size": 20,  # clips or images per forward pass
                "interval": "percentile95",  # over videos: "percentile95", or the original's unnamed 90 %, "legacy90"
                "data_kind": "",  # what results say of their data: "phantom" or "real"; "" reads it from the records
                "videos": False,  # segmentation: judge whole videos, as EchoDFKD: Dice, LVEF, aFD, EchoCLIP
                "teacher_masks_dir": "",  # a teacher's masks of these videos, for aFD and EchoCLIP; "" is none
            },
            # The judge that needs no label, where whole videos are judged and echoclip_dir is there.
            "echoclip": {
                "num_videos": -1,  # videos of each split that it sees, the first so many; 0 is none, -1 all
                "frame_period": 1,  # it looks at every so many-th frame, up to 5 times (7 times in colour)
                "modes": ("intended", "as_coded"),  # of the mask score: as it is meant, as the original computes it
                "phase_sign": "open_minus_closed",  # or "closed_minus_open", which turns the phase signal over
                "features_dir": "",  # keeps embeddings of frames, a folder per data set; "" is <workdir>/echoclip
                "batch_size": 32,  # frames per forward pass
                "dtype": "float32",  # of the computation: float32, or bfloat16 as its authors
            },
            "infer": {
                "splits": ("TRAIN", "VAL", "TEST"),
                "encoding": "uint8",  # uint8 round(255 p), "floor" (EchoDFKD) or "float32" logits (CSS)
                "videos_per_shard": 64,
                "seg_npz": False,  # also write them as EchoDFKD's files, <workdir>/seg_npz/<name>.seg.npz
                "after_training": False,  # write masks when training ends
            },
            # Phantoms to make in data_dir when it does not exist yet: for smoke runs and the demo.
            "phantoms": {
                "num_videos": 0,  # 0 makes none: data_dir must be there
                "seed": 0,
                "num_frames": (80, 200),  # frames per video, at least and at most
                "variety": (1.0, 1.0),  # how much hearts and pictures differ, drawn in this range: 1 is full, 0 hardly
                "without": (),  # ingredients to leave out, by the names in data_prep/phantom/ingredients.py
                "splits": (0.75, 0.125, 0.125),  # shares of TRAIN, VAL and TEST
                "truth": False,  # also write the true masks, as a masks_dir: <data_dir>_truth
            },
            "requires": {},  # stage: config of a stage to run first where its workdir, beside this one, has no result
            "compile_cache_dir": "~/.cache/echojax/xla",  # compiled programs are kept here; "" keeps none
        }
    )
