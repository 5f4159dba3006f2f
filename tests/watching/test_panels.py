from anchoredit_jax.watching.panels import OTHER, label_of, panels_of

KNOWN = (
    "loss", "held_out/ema/loss", "held_out/params/loss", "noise/0-250",
    "noise/250-500", "noise/1000-1250", "held_out/ema/noise/0-250", "turn/10", "turn/2",
    "held_out/ema/turn/2", "edited/success", "edited/success/1", "edited/colour/1",
    "grad_norm", "critic_grad_norm", "learning_rate", "seconds_left", "mfu",
)  # fmt: skip
UNKNOWN = ("strange", "held_out/other/x", "edited/hands", "deep/a/b", "deep/c", "a<b")


def test_every_measure_stands_in_one_panel():
    found = panels_of({*KNOWN, *UNKNOWN})
    taken = [name for _, names in found for name in names]
    assert sorted(taken) == sorted({*KNOWN, *UNKNOWN})
    others = {p.title: names for p, names in found if p.section == OTHER}
    assert others == {
        "a<b": ("a<b",),
        "deep": ("deep/a/b", "deep/c"),
        "edited": ("edited/hands",),
        "held_out": ("held_out/other/x",),
        "strange": ("strange",),
    }


def test_held_out_stands_beside_training_and_numbers_are_in_their_order():
    found = {panel.title: (panel, names) for panel, names in panels_of(KNOWN)}
    panel, names = found["Loss"]
    assert names == ("loss", "held_out/ema/loss", "held_out/params/loss")
    assert label_of(panel, "loss") == "training"
    panel, names = found["Loss by turn"]
    assert names == ("turn/2", "turn/10") and label_of(panel, "turn/2") == "turn 2"
    assert panel.scale == found["Loss by turn, held out"][0].scale != ""
    panel, names = found["Loss by noise interval"]
    assert names == ("noise/0-250", "noise/250-500", "noise/1000-1250")
    assert label_of(panel, names[0]) == "0-250"
    panel, names = found["Edits that succeed"]
    assert [label_of(panel, name) for name in names] == ["all", "turn 1"]
