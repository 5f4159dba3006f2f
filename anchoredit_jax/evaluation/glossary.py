"""What the words of a report mean, for a reader who meets them for the first time."""

# Term -> its meaning, in the order of the report.
GLOSSARY: dict[str, str] = {
    "turn": "One instruction and the image that the model makes of it. Turn 0 is the "
    "source image.",
    "source, anchor": "The first image of a session. A memory with a sink keeps it for "
    "ever, as an anchor.",
    "sink S + window W": "What the model sees when it draws a turn: the first S images "
    "of the session and the last W before this one.",
    "full history": "A memory that keeps every image of the session.",
    "drift": "Change that nobody asked for and that grows from turn to turn: of the "
    "subject, of colours, of sharpness.",
    "ground truth": "The right image of every turn, known exactly for sprites and for "
    "data sets that hold it.",
    "edit success": "Share of edits whose region is right: at least 20 dB PSNR to a "
    "right answer. On sheets a green frame is a success, a red one is none.",
    "subject PSNR": "How close the pixels of the subject are to the right ones, in dB: "
    "at 20 a difference is plain to see, at 40 hardly at all.",
    "right subject of 48": "Share of turns whose subject is nearest to the right one "
    "of 48 possible ones; also called retrieval.",
    "untouched PSNR": "As subject PSNR, but of the pixels that this instruction must "
    "leave alone.",
    "whole state right": "Share of turns in which everything is as all instructions "
    "so far ask for, not only the last one.",
    "identity": "How close those pixels are to the source that no instruction up to "
    "here has changed (PSNR in dB, SSIM from 0 to 1).",
    "consistency": "The same against the turn before, where this turn changes nothing. "
    "It does not see what earlier turns spoilt; identity does.",
    "PSNR, SSIM": "Closeness of two images: by squared error in dB (at most 60 here), "
    "and by local structure, 1 for the same image.",
    "return": "A turn that was told to go back, against the image that it goes back "
    "to.",
    "identity loop": "The empty instruction again and again. Any change is drift, so "
    "that no right answer is needed.",
    "cover and uncover": "The subject is covered, five other edits follow, and it is "
    "uncovered: whether the right one comes back shows what the memory held.",
    "fine detail": "Energy of the finest structures against the source's: below 1 the "
    "image has become blurred, above 1 sharper or noisy.",
    "similarity of features": "Cosine between what a pretrained network makes of two "
    "images: 1 is the same content, whatever the pixels.",
    "L1, L2": "Mean absolute and mean squared difference to the right image of a "
    "benchmark, of values from 0 to 1; lower is better.",
    "CLIP-I, DINO": "Cosine between CLIP's, or DINO's, features of the result and of "
    "the right image; higher is better.",
    "CLIP-T": "Cosine between CLIP's features of the result and of the right image's "
    "caption. That of the right image itself stands beside it.",
    "last turn": "The last turn of each session, however long it is: the multi-turn "
    "setting of benchmarks. Single turns start from the right image before them.",
    "SR@k": "Success rate at turn k: the share of sessions in which the judge passed "
    "turns 1 to k, each for the instruction and for keeping the rest. A session is out "
    "from its first failure on.",
    "CR@k": "Consistency rate at turn k: as SR@k, but for keeping the rest alone.",
    "[low, high]": "The 95 % bootstrap interval over sessions. A difference whose "
    "interval leaves out 0 is more than chance.",
}
