"""Does a threat keep its contract?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stalwart.core.checks._say import expect
from stalwart.core.contracts import Rendered, Threat
from stalwart.core.rng import Noise, generator


def threat(threat: Threat | Rendered) -> None:
    """Check that a threat keeps its contract: starts and projections inside, sizes of zero, sample by sample.

    Of a rendered threat the parameters are checked so, and then what is rendered of them.

    Raises:
        ContractError: it says what was expected of whom and what came.
    """
    clean = torch.rand(4, 3, 8, 6, generator=generator("check", "threat"))
    if isinstance(threat, Rendered):
        _rendered(threat)
        return
    _around(threat, clean, f"threat {threat!r}")


def _around(threat: Threat, clean: Tensor, who: str) -> None:
    noise = Noise.of_images(clean, 0)
    room = threat.epsilon * (1 + 1e-4) + 1e-6
    kept = clean.clone()
    far = clean + torch.randn(clean.shape, generator=generator("check", "far")) * (threat.epsilon + 0.1)
    slope = torch.randn(clean.shape, generator=generator("check", "slope"))
    begun, projected = threat.start(clean, noise.fork("start")), threat.project(far, clean)
    moved = threat.ascend(clean, slope, threat.epsilon / 4)
    for name, images in (("start", begun), ("project", projected), ("ascend", moved)):
        expect(images.shape == clean.shape, f"{who}: {name} must keep the shape {tuple(clean.shape)}", images.shape)
        expect(bool(images.isfinite().all()), f"{who}: {name} must give finite values", "NaN or infinity")
    for name, images in (("start", begun), ("project", projected)):
        low, high = float(images.min()), float(images.max())
        expect(low >= -1e-6 and high <= 1 + 1e-6, f"{who}: {name} must stay in [0, 1]", (low, high))
        worst = float(threat.size(images, clean).max())
        expect(worst <= room, f"{who}: {name} must stay within epsilon {threat.epsilon:.6g}", worst)
    sizes = threat.size(clean, clean)
    expect(sizes.shape == (4,), f"{who}: size must give one number a sample, (4,)", tuple(sizes.shape))
    expect(bool((sizes == 0).all()), f"{who}: size(clean, clean) must be 0", sizes.tolist())
    expect(torch.equal(clean, kept), f"{who}: must not write into the images it is given", "other values")
    some = torch.tensor([2, 0])
    part = threat.project(far[some], clean[some])
    expect(torch.allclose(part, projected[some], atol=1e-6), f"{who}: must work sample by sample", "batch mates matter")
    part = threat.start(clean[some], noise.fork("start").select(some))
    expect(torch.allclose(part, begun[some], atol=1e-6), f"{who}: start must draw from each sample's noise", "others'")


def _rendered(threat: Rendered) -> None:
    who = f"threat {threat!r}"
    rough = torch.rand(4, 3, 5, 4, generator=generator("check", "rendered"))
    clean = nn.functional.interpolate(
        rough, (16, 12), mode="bilinear", align_corners=True
    )  # so that it can be resampled
    kept = clean.clone()

    def fresh() -> Noise:
        return Noise.of_images(clean, 0)

    neutral, within = threat.neutral(clean, fresh()), threat.within()
    expect(neutral.ndim == 4 and len(neutral) == 4, f"{who}: neutral must be (4, c, h, w)", tuple(neutral.shape))
    low, high = float(neutral.min()), float(neutral.max())
    expect(low >= 0 and high <= 1, f"{who}: the neutral θ must lie in [0, 1]", (low, high))
    _around(within, neutral, f"{who}, its θ")
    sizes = threat.size(neutral, neutral)
    good = sizes.shape == (4,) and bool((sizes == 0).all())
    expect(good, f"{who}: size(neutral, neutral) must be 0, (4,)", sizes.tolist())
    still = threat.render(clean, neutral, fresh())
    expect(still.shape == clean.shape, f"{who}: pictures must have the images' shape {tuple(clean.shape)}", still.shape)
    worst = float((still - clean).abs().mean())
    expect(worst < 0.05, f"{who}: the neutral θ must give the clean image, or nearly", f"{worst:.3g} away on average")
    theta = within.start(neutral, Noise.of_images(clean, 1)).detach().requires_grad_()
    seen = threat.render(clean, theta, fresh())
    low, high = float(seen.detach().min()), float(seen.detach().max())
    expect(low >= -1e-6 and high <= 1 + 1e-6, f"{who}: pictures must stay in [0, 1]", (low, high))
    expect(
        torch.equal(seen, threat.render(clean, theta, fresh())), f"{who}: the same noise, the same picture", "others"
    )
    expect(bool((seen != clean).any()), f"{who}: a θ must change the picture", "none")
    size = float(threat.size(theta.detach(), neutral).max())
    room = threat.epsilon * (1 + 1e-4) + 1e-6
    expect(size <= room, f"{who}: what within() allows must be of size {threat.epsilon:.6g} at most", size)
    tint = torch.rand(clean.shape, generator=generator("check", "tint"))
    (slope,) = torch.autograd.grad((seen * tint).sum(), theta)
    expect(
        bool(slope.isfinite().all() and slope.any()), f"{who}: pictures must have a slope in θ", "none, or not finite"
    )
    expect(torch.equal(clean, kept), f"{who}: must not write into the images it is given", "other values")
    some = torch.tensor([2, 0])
    part = threat.render(clean[some], theta[some], fresh().select(some))
    expect(torch.allclose(part, seen[some], atol=1e-6), f"{who}: must work sample by sample", "batch mates matter")
