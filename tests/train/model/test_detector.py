import copy
import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
import timm
import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import keypointrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import keypoints_to_heatmap
from torchvision.ops.misc import FrozenBatchNorm2d

from synth.errors import ConfigError, EnvironmentProblem
from train.backbones import BACKBONES, BackboneSpec, VendorFile
from train.config import ModelConfig, TrainConfig, load_train_config, preset_path, with_changes
from train.model import weights
from train.model.backbone import fold
from train.model.build import build_model, load_coco, parameter_groups
from train.model.detector import READINGS, KeypointDetector
from train.model.heatmaps import (
    decode_heatmaps,
    heatmap_loss,
    read_where_heatmaps_point,
    visibility_loss,
)
from train.model.sampling import SHIFT, STRETCH

LITE0 = BACKBONES["tf_efficientnet_lite0"].vendor_files["imagenet"]
COCO = BACKBONES["resnet50"].vendor_files["coco"]


def light(config: TrainConfig, **changes: Any) -> ModelConfig:
    return config.model.model_copy(update={"weights": "none", **changes})


def target(boxes: list[list[float]], points: list[list[list[float]]]) -> dict[str, Tensor]:
    n = len(boxes)
    return {
        "boxes": torch.tensor(boxes).reshape(n, 4),
        "labels": torch.ones(n, dtype=torch.int64),
        "keypoints": torch.tensor(points).reshape(n, -1, 3) if n else torch.zeros(0, 2, 3),
        "seed": torch.tensor(0),
    }


ONE = target([[20.0, 20, 80, 70]], [[[30.0, 30, 2], [70, 60, 1]]])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_and_detects(tiny_config: TrainConfig, backbone: str) -> None:
    model = build_model(light(tiny_config, backbone=backbone, score_threshold=0.0), 2, 2)
    losses = model.train()([torch.rand(3, 96, 128)], [ONE])
    torch.stack(list(losses.values())).sum().backward()
    assert losses["loss_keypoint"] > 0
    assert losses["loss_visibility"] > 0
    with torch.no_grad():
        (result,) = model.eval()([torch.rand(3, 96, 128)])
    n = len(result["boxes"])
    assert n > 0
    assert result["keypoints"].shape == (n, 2, 3)
    for name in ("keypoints_scores", "keypoints_visibility"):
        assert result[name].shape == (n, 2)
        assert 0 <= float(result[name].min()) <= float(result[name].max()) <= 1


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_of_a_row_are_all_of_its_network(name: str) -> None:
    spec = BACKBONES[name]
    body = timm.create_model(spec.timm_name, features_only=True, out_indices=range(5))
    named = [part for stage in spec.stages for part in stage]
    for parameter, _ in body.named_parameters():
        assert any(parameter.startswith(f"{part}.") for part in named), parameter
    assert not [part for part in named if part not in dict(body.named_modules())]


def test_a_backbone_of_other_strides_is_refused(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "next", BackboneSpec("convnext_atto", ()))
    config = light(tiny_config, backbone="next", strides=(4, 8, 16), proposal_strides=(8, 16))
    with pytest.raises(ValueError, match=r"next gives features at strides \[8, 16, 32\], not \(4, 8, 16\)"):
        build_model(config, 2, 2)


def test_another_row_of_the_table_is_another_backbone(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = BACKBONES["resnet50"].stages
    monkeypatch.setitem(
        BACKBONES, "small", BackboneSpec("resnet18", stages, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    )
    config = with_changes(
        tiny_config, {"model": {"backbone": "small", "weights": "none", "trainable_stages": 1}}, "x"
    )
    model = build_model(config.model, 2, 2).train()
    losses = model([torch.rand(3, 96, 128)], [ONE])
    torch.stack(list(losses.values())).sum().backward()
    assert model.transform.image_mean == [0.1, 0.2, 0.3]
    trained = {n.split(".")[0] for n, p in model.backbone.body.named_parameters() if p.grad is not None}
    assert trained == {"layer4"}
    with pytest.raises(ConfigError, match=r"weights: imagenet exist for backbone .*, not small"):
        with_changes(config, {"model": {"weights": "imagenet"}}, "x")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_stages_named_are_all_of_a_backbone(tiny_config: TrainConfig, backbone: str) -> None:
    body = build_model(light(tiny_config, backbone=backbone, trainable_stages=0), 2, 2).backbone.body
    assert not any(parameter.requires_grad for parameter in body.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_pyramid_without_its_coarsest_level_is_built(tiny_config: TrainConfig, backbone: str) -> None:
    levels = {"strides": (4, 8, 16), "proposal_strides": (8, 16), "anchor_sizes": ((8,), (16,), (32,))}
    model = build_model(light(tiny_config, backbone=backbone, trainable_stages=1, **levels), 2, 2)
    assert list(model.backbone(torch.rand(1, 3, 64, 64))) == ["4", "8", "16", "pool"]
    assert any(parameter.requires_grad for parameter in model.backbone.body.parameters())


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet50"])
def test_a_flat_picture_changes_nothing_for_those_after_it(tiny_config: TrainConfig, backbone: str) -> None:
    torch.manual_seed(0)
    model = build_model(light(tiny_config, backbone=backbone, score_threshold=0.0), 2, 2).eval()
    fresh, picture = copy.deepcopy(model), torch.rand(3, 96, 128)
    with torch.no_grad():
        model([torch.rand(3, 9, 128)])
        (found,), (expected,) = model([picture]), fresh([picture])
    assert len(expected["boxes"]) > 0
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("classes", "keypoints"), [(2, 1), (2, 6), (4, 3)])
def test_predictors_have_the_asked_for_classes_and_keypoints(
    tiny_config: TrainConfig, classes: int, keypoints: int
) -> None:
    heads = build_model(light(tiny_config), classes, keypoints).roi_heads
    assert heads.box_predictor.cls_score.out_features == classes
    assert heads.keypoint_predictor.kps_score_lowres.out_channels == keypoints


def test_backbone_is_channels_last_and_hands_out_contiguous_maps(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2)
    stem = model.backbone.body.conv_stem.weight
    assert stem.is_contiguous(memory_format=torch.channels_last)
    maps = model.backbone(torch.rand(1, 3, 64, 64))
    assert list(maps) == ["4", "8", "16", "32", "pool"]
    assert all(m.is_contiguous() for m in maps.values())


def test_only_proposal_strides_propose(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2).eval()
    seen: list[list[str]] = []
    model.rpn.register_forward_pre_hook(lambda _, args: seen.append(list(args[1])))
    model([torch.rand(3, 96, 128)])
    assert seen == [["8", "16", "32", "pool"]]


@pytest.mark.parametrize("trainable", [0, 3, 8])
def test_only_the_last_stages_train(tiny_config: TrainConfig, trainable: int) -> None:
    body = build_model(light(tiny_config, trainable_stages=trainable), 2, 2).backbone.body
    trained = {n.split(".")[0] + n.split(".")[1] for n, p in body.named_parameters() if p.requires_grad}
    stages = ["conv_stemparametrizations", *(f"blocks{i}" for i in range(7))]
    assert trained == set(stages[8 - trainable :])


def test_unfrozen_norms_train_only_where_the_stage_does(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config, frozen_norm=False, trainable_stages=1), 2, 2).train()
    moving = {
        n
        for n, m in model.backbone.body.named_modules()
        if isinstance(m, torch.nn.BatchNorm2d) and m.training
    }
    assert moving
    assert all(name.startswith("blocks.6") for name in moving)


def test_every_trained_parameter_is_in_one_group(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2)
    groups = parameter_groups(model, 1e-4, 1e-3, 0.1)
    grouped = [id(p) for g in groups for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {g["lr"] for g in groups} == {1e-4, 1e-3}
    assert all(p.ndim == 1 for g in groups if g["weight_decay"] == 0 for p in g["params"])


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([[30.0, 30, 0], [70, 60, 0]], id="no keypoint labelled"),
        pytest.param([[100.0, 80, 2], [110, 80, 2]], id="keypoints outside the box"),
    ],
)
def test_keypoint_loss_is_zero_when_no_labelled_keypoint_lies_in_the_box(
    tiny_config: TrainConfig, points: list[list[float]]
) -> None:
    config = light(tiny_config, rpn_post_nms=1)
    torch.manual_seed(0)
    model = build_model(config, 2, 2).train()
    model.roi_heads.fg_bg_sampler.positive_fraction = 1.0
    losses = model([torch.rand(3, 96, 128)], [target([[20.0, 20, 40, 40]], [points])])
    assert float(losses["loss_keypoint"].detach()) == 0
    assert float(losses["loss_visibility"].detach()) == 0


def test_batch_of_negatives_trains(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2).train()
    losses = model([torch.rand(3, 96, 128)] * 2, [target([], [])] * 2)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)


def gaussian_logits(x: float, y: float, size: int = 56, sigma: float = 1.2) -> Tensor:
    centres = torch.arange(size) + 0.5
    return -((centres[None, :] - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * sigma**2)


@pytest.mark.parametrize(("x", "y"), [(20.5, 30.5), (20.8, 30.2), (7.1, 41.9), (28.0, 28.0)])
def test_heatmap_is_decoded_below_its_cells(x: float, y: float) -> None:
    box = torch.tensor([[100.0, 50.0, 660.0, 330.0]])
    keypoints, scores = decode_heatmaps(gaussian_logits(x, y)[None, None], box)
    assert keypoints[0, 0].tolist() == pytest.approx([100 + 10 * x, 50 + 5 * y, 1], abs=1.0)
    assert 0.85 < float(scores[0, 0]) <= 1


def test_decoding_inverts_torchvisions_encoding_without_bias() -> None:
    generator = torch.Generator().manual_seed(1)
    box = torch.tensor([[10.0, 20.0, 318.0, 146.0]])
    points = torch.rand(500, 2, generator=generator) * (box[0, 2:] - box[0, :2]) + box[0, :2]
    keypoints = torch.cat((points, torch.full((500, 1), 2.0)), dim=1)[None]
    cells, valid = keypoints_to_heatmap(keypoints, box, 56)
    assert bool(valid.all())
    logits = torch.full((1, 500, 56 * 56), -50.0).scatter(2, cells[..., None], 50.0)
    decoded, _ = decode_heatmaps(logits.view(1, 500, 56, 56), box)
    error = decoded[0, :, :2] - points
    cell = (box[0, 2:] - box[0, :2]) / 56
    assert bool((error.abs() <= cell / 2 + 1e-3).all())
    assert error.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.15)


def test_confidence_is_low_for_a_flat_heatmap_and_high_for_a_sharp_one() -> None:
    box = torch.tensor([[0.0, 0, 56, 56]])
    flat, sharp = torch.zeros(1, 1, 56, 56), 10 * gaussian_logits(9.5, 9.5)[None, None]
    assert float(decode_heatmaps(flat, box)[1]) < 0.02
    assert float(decode_heatmaps(sharp, box)[1]) > 0.99


def test_no_detections_decode_to_empty() -> None:
    keypoints, scores = decode_heatmaps(torch.zeros(0, 3, 56, 56), torch.zeros(0, 4))
    assert (keypoints.shape, scores.shape) == ((0, 3, 3), (0, 3))


def test_lite0_starts_from_the_packages_tensors(tiny_config: TrainConfig) -> None:
    model = build_model(tiny_config.model, 2, 2)
    vendor = weights.vendor_state(LITE0, None)
    torch.testing.assert_close(
        model.backbone.body.conv_stem.parametrizations.weight.original,
        next(iter(vendor.values())),
        rtol=0,
        atol=0,
    )
    assert len(vendor) == 296


def test_pretrained_features_are_in_a_sane_range(tiny_config: TrainConfig) -> None:
    """Tensors paired in the wrong order, or norms left at their start, would explode or vanish."""
    body = build_model(tiny_config.model, 2, 2).backbone.body.eval()
    with torch.no_grad():
        spread = [float(m.std()) for m in body(torch.rand(1, 3, 128, 128) * 2 - 1)]
    assert all(0.05 < s < 20 for s in spread)


def test_torchvisions_mobilenet_tensors_give_the_same_features_in_ours() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2()
    ours = timm.create_model("mobilenetv2_100")
    ours.load_state_dict(weights.pair_by_order(ours.state_dict(), theirs.state_dict(), "test"))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(image), theirs.eval()(image), rtol=1e-4, atol=1e-5)


def test_tensors_that_do_not_pair_are_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="1 tensors do not pair with the network's 2"):
        weights.pair_by_order({"a": torch.zeros(1), "b": torch.zeros(2)}, {"x": torch.zeros(1)}, "w")


@pytest.fixture(scope="module")
def coco_sized() -> tuple[ModelConfig, dict[str, Tensor]]:
    config = load_train_config(preset_path("gpu", cuda=False)).model.model_copy(
        update={"score_threshold": 0.0}
    )
    torch.manual_seed(3)
    theirs = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    return config, state


def test_gpu_preset_takes_torchvisions_coco_tensors_and_computes_the_same(
    coco_sized: tuple[ModelConfig, dict[str, Tensor]],
) -> None:
    config, state = coco_sized
    ours = build_model(config.model_copy(update={"weights": "none"}), 2, 17).eval()
    load_coco(ours, state)
    theirs = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    theirs.load_state_dict(state, strict=False)
    images = torch.rand(1, 3, 128, 128) - 0.5
    with torch.no_grad():
        for a, b in zip(ours.backbone(images).values(), theirs.backbone(images).values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_both_predictors_are_replaced_and_every_skipped_tensor_is_logged(
    coco_sized: tuple[ModelConfig, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config, state = coco_sized
    path = tmp_path / "coco.pth"
    torch.save(state, path)
    pinned = replace(COCO, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    row = replace(BACKBONES["resnet50"], vendor_files={"coco": pinned})
    monkeypatch.setitem(BACKBONES, "resnet50", row)
    with caplog.at_level(logging.INFO, logger="train.model.build"):
        model = build_model(config.model_copy(update={"weights_file": path}), 2, 6)
    norms = [m for m in model.backbone.body.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) > 50
    assert {norm.eps for norm in norms} == {0.0}  # as torchvision loads these weights
    assert model.roi_heads.keypoint_predictor.kps_score_lowres.out_channels == 6
    assert model.roi_heads.visibility_predictor.out_channels == 6
    torch.testing.assert_close(model.rpn.head.cls_logits.weight, state["rpn.head.cls_logits.weight"])
    skipped = {record.args[1] for record in caplog.records if isinstance(record.args, tuple)}
    assert {"cls_score.weight", "bbox_pred.bias", "kps_score_lowres.weight"} <= skipped


@pytest.mark.parametrize("missing", ["file", "package"])
def test_missing_weights_say_what_to_do(tmp_path: Path, missing: str) -> None:
    if missing == "file":
        with pytest.raises(EnvironmentProblem, match=r"no file .*gone\.pth, expected efficientnet-lite0"):
            weights.vendor_state(LITE0, tmp_path / "gone.pth")
    else:
        lost = replace(LITE0, package="not_a_package_at_all")
        with pytest.raises(EnvironmentProblem, match=r"not-a-package-at-all is not installed.*weights_file"):
            weights.vendor_state(lost, None)


def test_failed_download_names_the_address_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHMARK_CACHE", str(tmp_path))
    file = replace(COCO, url="file:///nowhere/coco.pth")
    with pytest.raises(EnvironmentProblem, match=r"file:///nowhere/coco\.pth.*model\.weights_file"):
        weights.vendor_state(file, None)


@pytest.fixture
def vendor_site(tmp_path: Path) -> Iterator[str]:
    """A server of the folder tmp_path/site, which holds w.pth."""
    folder = tmp_path / "site"
    folder.mkdir()
    torch.save({"a": torch.ones(2)}, folder / "w.pth")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/w.pth"
        server.shutdown()


def test_a_download_is_kept_if_its_hash_begins_as_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, vendor_site: str
) -> None:
    monkeypatch.setenv("MESHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
    digest = hashlib.sha256((tmp_path / "site" / "w.pth").read_bytes()).hexdigest()
    with pytest.raises(EnvironmentProblem, match=rf"{vendor_site}: SHA-256 is .*expected 00000000"):
        weights.vendor_state(VendorFile(vendor_site, "0" * 8), None)
    assert not list((tmp_path / "cache" / "weights").iterdir())
    assert weights.vendor_state(VendorFile(vendor_site, digest[:8]), None)["a"].tolist() == [1, 1]
    (tmp_path / "site" / "w.pth").unlink()
    assert weights.vendor_state(VendorFile(vendor_site, digest), None)["a"].tolist() == [1, 1]
    assert "known_hash" not in caplog.text  # what pooch advises programmers


def test_weights_of_another_hash_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(EnvironmentProblem, match="SHA-256 is"):
        weights.vendor_state(COCO, path)


def test_evaluation_does_not_need_targets_or_decode_at_box_size(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2).eval()
    assert isinstance(model, KeypointDetector)
    with torch.no_grad():
        assert len(model([torch.rand(3, 64, 64), torch.rand(3, 96, 64)])) == 2


def test_refining_keeps_boxes_the_head_agrees_with_and_merges_doubles(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2).eval()
    torch.nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.weight)
    torch.nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.bias)
    features = model.backbone(torch.rand(1, 3, 96, 128))
    boxes = torch.tensor([[10.0, 10, 60, 50], [11.0, 10, 60, 51], [70.0, 20, 130, 90]])
    scores, labels = torch.tensor([0.6, 0.9, 0.5]), torch.ones(3, dtype=torch.int64)
    refined, kept, _ = model.refitted(features, boxes, scores, labels, (96, 128))
    torch.testing.assert_close(refined, torch.tensor([[11.0, 10, 60, 51], [70.0, 20, 128, 90]]))
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.5]))


@pytest.mark.parametrize(("x", "y"), [(20.5, 30.5), (20.8, 30.2), (7.13, 41.9), (0.5, 55.5)])
def test_heatmap_that_minimizes_the_loss_decodes_to_the_true_place(x: float, y: float) -> None:
    box = torch.tensor([[100.0, 50.0, 660.0, 330.0]])
    true = torch.tensor([[[100 + 10 * x, 50 + 5 * y, 2.0]]])
    logits = torch.zeros(1, 1, 56, 56, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        heatmap_loss(logits, box, true).backward()
        optimizer.step()
    keypoints, _ = decode_heatmaps(logits.detach(), box)
    assert keypoints[0, 0, :2].tolist() == pytest.approx(true[0, 0, :2].tolist(), abs=0.2)


def test_heatmap_loss_counts_labelled_keypoints_in_their_box_only() -> None:
    box = torch.tensor([[0.0, 0, 56, 56], [0, 0, 56, 56]])
    logits = torch.randn(2, 2, 56, 56, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[20.0, 20, 2], [60, 20, 2]], [[30, 30, 0], [40.2, 10.7, 1]]])
    counted = [
        heatmap_loss(logits[i, k][None, None], box[:1], points[i, k][None, None]) for i, k in ((0, 0), (1, 1))
    ]
    assert float(heatmap_loss(logits, box, points)) == pytest.approx(float(torch.stack(counted).mean()))
    assert float(heatmap_loss(logits, box, points * torch.tensor([1.0, 1, 0]))) == 0


def test_visibility_loss_counts_labelled_keypoints_in_their_box_only() -> None:
    box = torch.tensor([[0.0, 0, 56, 56], [0, 0, 56, 56]])
    logits = torch.tensor([[1.5, -3.0], [4.0, -0.5]])
    points = torch.tensor([[[20.0, 20, 2], [60, 20, 2]], [[30, 30, 0], [40.2, 10.7, 1]]])
    visible, hidden = torch.tensor(1.5).sigmoid(), torch.tensor(-0.5).sigmoid()
    wanted = -(visible.log() + (1 - hidden).log()) / 2
    torch.testing.assert_close(visibility_loss(logits, box, points), wanted)
    assert float(visibility_loss(logits, box, points * torch.tensor([1.0, 1, 0]))) == 0


def test_maps_are_read_where_their_heatmap_points_and_do_not_move_it() -> None:
    maps = torch.arange(14 * 14.0).view(1, 1, 14, 14).repeat(1, 2, 1, 1).requires_grad_()
    inside_a_cell = gaussian_logits(22.0, 34.0, sigma=0.4)
    between_two = gaussian_logits(24.0, 34.0, sigma=0.4)
    heatmaps = torch.stack((inside_a_cell, between_two))[None].requires_grad_()
    read = read_where_heatmaps_point(maps, heatmaps)
    row = 8 * 14
    assert read.tolist() == [[pytest.approx(row + 5, abs=1e-2), pytest.approx(row + 5.5, abs=1e-2)]]
    read.sum().backward()
    assert maps.grad is not None
    assert float(maps.grad.sum()) == pytest.approx(2)
    assert heatmaps.grad is None


def test_visibility_is_learned_from_what_the_region_shows(tiny_config: TrainConfig) -> None:
    """Bright objects are labelled visible, dark ones hidden; the places are the same."""
    torch.manual_seed(0)
    model = build_model(light(tiny_config), 2, 2).train()
    points = [[30.0, 30], [70, 60]]
    images = [torch.full((3, 96, 128), level) for level in (0.9, 0.1)]
    targets = [target([[20.0, 20, 80, 70]], [[[*xy, v] for xy in points]]) for v in (2, 1)]
    optimizer = torch.optim.Adam(model.roi_heads.visibility_predictor.parameters(), lr=0.03)
    for _ in range(30):
        optimizer.zero_grad()
        model(images, targets)["loss_visibility"].backward()
        optimizer.step()
    batch, _ = model.transform(images)
    boxes = [t["boxes"] for t in targets]
    _, logits = model._read_keypoints(model.backbone(batch.tensors), boxes, batch.image_sizes)
    bright, dark = logits.sigmoid()
    assert float(bright.detach().min()) > 0.7
    assert float(dark.detach().max()) < 0.3


def test_keypoints_are_learned_in_squares_about_true_boxes_that_miss_them_a_little(
    tiny_config: TrainConfig,
) -> None:
    model = build_model(light(tiny_config, keypoint_reach=1.5, keypoint_regions=200), 2, 2).train()
    seen: list[list[Tensor]] = []
    model.roi_heads.keypoint_roi_pool.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    one = target([[20.0, 20, 80, 70]], [[[20.0, 20, 2], [80, 70, 1]]])
    model([torch.rand(3, 96, 128)], [one])
    ((regions,),) = seen
    size = regions[:, 2:] - regions[:, :2]
    assert torch.allclose(size[:, 0], size[:, 1], atol=1e-3)
    assert size.log().std().item() == pytest.approx(STRETCH, rel=0.25)
    assert size.log().mean().item() == pytest.approx(np.log(90), abs=0.04)
    centre = (regions[:, 2:] + regions[:, :2]) / 2
    assert torch.allclose(centre.mean(dim=0), torch.tensor([50.0, 45]), atol=1.0)
    assert (centre[:, 0].std() / 60).item() == pytest.approx(SHIFT, rel=0.25)


def test_heatmaps_start_nearly_even(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config), 2, 2)
    cells = model.roi_heads.keypoint_head(torch.randn(2, tiny_config.model.fpn_channels, 14, 14))
    logits = model.roi_heads.keypoint_predictor(cells).flatten(2)
    assert float(logits.std().detach()) < 0.2


def test_keypoints_are_the_mean_of_the_readings_that_agree_with_the_widest(tiny_config: TrainConfig) -> None:
    model = build_model(light(tiny_config, keypoint_reach=1.4), 2, 2)
    boxes = torch.tensor([[0.0, 0, 100, 50], [50, 50, 60, 70]])
    regions = model.reading_regions(boxes)
    cells = model.roi_heads.keypoint_roi_pool.output_size[0]
    for n, (share, *shift) in enumerate(READINGS):
        size = (1 + 0.4 * share) * torch.tensor([[100.0, 100], [20, 20]])
        centre = torch.tensor([[50.0, 25], [55, 60]]) + torch.tensor(shift) * size / cells
        assert torch.allclose(regions[n::4], torch.cat((centre - size / 2, centre + size / 2), dim=1))
    first = torch.tensor([[30.0, 20], [31, 20], [32, 20], [31, 21]])
    second = torch.tensor([[52.0, 60], [58, 66], [52, 60], [53, 60]])
    place = torch.cat((first, second))  # of the second box, one reading is off
    at = (place - regions[:, :2]) / (regions[:, 2:] - regions[:, :2]) * 56
    maps = torch.stack([10 * gaussian_logits(float(x), float(y)) for x, y in at])[:, None]
    visibility = torch.linspace(0, 1, len(regions))[:, None]
    keypoints, confidence, visible = model.merged_readings(maps, visibility, regions)
    apart, sure = decode_heatmaps(maps, regions)
    assert torch.allclose(keypoints[0, 0], apart[:4, 0].mean(dim=0))
    assert torch.allclose(keypoints[1, 0], apart[[4, 6, 7], 0].mean(dim=0))
    assert torch.equal(confidence, sure[[0, 4]])
    assert torch.equal(visible, visibility[[0, 4]])
    none, *_ = model.merged_readings(maps[:0], visibility[:0], model.reading_regions(boxes[:0]))
    assert none.shape == (0, 1, 3)


@pytest.mark.parametrize("cells", [14, 18])
def test_heatmaps_have_four_times_the_cells_that_the_head_sees(tiny_config: TrainConfig, cells: int) -> None:
    model = build_model(light(tiny_config, keypoint_cells=cells), 2, 2).train()
    seen: list[Tensor] = []
    model.roi_heads.keypoint_predictor.register_forward_hook(lambda _, args, out: seen.extend((*args, out)))
    model([torch.rand(3, 96, 128)], [target([[20.0, 20, 80, 70]], [[[20.0, 20, 2], [80, 70, 1]]])])
    pooled, maps = seen
    assert pooled.shape[2:] == (cells, cells)
    assert maps.shape[2:] == (4 * cells, 4 * cells)


def test_folded_norms_are_the_same_function_with_the_same_gradients(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, grown = torch.rand(2, 3, 96, 128, dtype=torch.double), {}
    ways = {"folded": lambda body: fold(body.double()), "apart": lambda body: None}
    for name, way in ways.items():
        torch.manual_seed(0)
        monkeypatch.setattr("train.model.build.fold", way)
        backbone = build_model(tiny_config.model, 2, 2).backbone.double()
        levels = backbone(images)
        sum(level.square().mean() for level in levels.values()).backward()
        gradients = {
            n.replace("parametrizations.weight.original", "weight"): p.grad
            for n, p in backbone.named_parameters()
            if p.grad is not None
        }
        grown[name] = levels, gradients
    for folded, apart in zip(grown["folded"], grown["apart"], strict=True):
        assert folded.keys() == apart.keys()
        for name, value in folded.items():
            torch.testing.assert_close(
                value, apart[name], rtol=0, atol=1e-9 * float(value.detach().abs().max())
            )


def test_boxes_are_not_rounded_to_half_precision(tiny_config: TrainConfig) -> None:
    model = build_model(tiny_config.model, 2, 2).train()
    seen: list[list[Tensor]] = []
    model.roi_heads.box_roi_pool.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    with torch.autocast("cpu", torch.bfloat16):
        model([torch.rand(3, 96, 128)], [target([[20.3, 20.7, 80.1, 70.2]], [[[30.0, 30, 2], [70, 60, 2]]])])
    (proposals,) = seen[0]
    assert proposals.dtype == torch.float32
