"""One training iteration: what of a batch goes where, micro-batches, mixed precision, clipping, an optimiser step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from monai.engines.utils import IterationEvents
from torch import Tensor

from ..errors import InputError, one_of
from ..seeding import mix_seed

Move = Callable[[str], Tensor]
AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Batch(PrepareBatch, ABC):
    """MONAI's `PrepareBatch` for a batch that is a dictionary."""

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple:
        """What `prepare` makes of the batch."""
        return self.prepare(batchdata, lambda key: batchdata[key].to(device, non_blocking=non_blocking))

    @abstractmethod
    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple:
        """Return the network's input and the loss's target on the device.

        Args:
            batch: as the data loader gives it, in host memory.
            move: the entry of a key on the device.
        """


class ImageBatch(Batch):
    """For self-supervised training: the image alone, no target."""

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple[Tensor, None]:
        """Return the image (B, C, *S), and None."""
        return move("image"), None


class SegmentationBatch(Batch):
    """For segmentation with partly labelled cases: the image, and a dict of label map and unlabelled classes."""

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple[Tensor, dict[str, Tensor]]:
        """Return image (B, C, *S) and {"label": (B, 1, *S), "unlabelled": (B, classes) bool}."""
        return move("image"), {key: move(key) for key in ("label", "unlabelled")}


def has_bf16(device: torch.device | str) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself, not by way of float32; as PyTorch says."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device | str, amp: str | bool) -> torch.autocast:
    """Mixed precision on any device (MONAI's is for CUDA only).

    Args:
        device: where the network lies.
        amp: "auto" (bf16 where `has_bf16`, else off), "off", "bf16" or "fp16". YAML reads a bare `off` as False, which
            means the same.

    Raises:
        InputError: another word.
    """
    word = str(one_of("amp", amp or "off", ("auto", *AMP_DTYPES)))
    if word == "auto":
        word = "bf16" if has_bf16(device) else "off"
    return torch.autocast(torch.device(device).type, dtype=AMP_DTYPES[word], enabled=word != "off")


def map_tensors(value: Any, change: Any) -> Any:
    """Apply `change` to the tensors of a tensor, dict, list, (named) tuple or None; the structure stays."""
    if isinstance(value, Tensor):
        return change(value)
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: map_tensors(entry, change) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [map_tensors(entry, change) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    raise TypeError(f"A batch and a network's output may hold tensors, dicts, lists and tuples, not {type(value)}.")


def _plain(value: Tensor) -> Tensor:
    """A MetaTensor without its metadata: each of its operations costs Python time, and it stops `torch.compile`."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def widen(value: Tensor) -> Tensor:
    """A bfloat16 or float16 tensor as float32; others as they are."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


class TrainingStep:
    """The `iteration_update` of MONAI's `SupervisedTrainer`, with what its own iteration lacks.

    - A batch that does not fit the card is split into chunks of `micro_batch` samples whose losses are weighted by
      their share of the batch; there is one optimiser step per batch. That is the update of the full batch if the loss
      is a mean over samples and the network treats samples independently (no batch norm). Masks and DropPath are drawn
      chunk by chunk, so with them the update is equal in distribution. MONAI's `accumulation_steps` weights every
      batch alike and scales an incomplete last group down.
    - The random stream restarts each iteration from (seed, iteration), alike on all ranks: a resumed run draws what the
      uninterrupted one did. How ranks draw different masks from it is in `masking.shared_rand`.
    - Autocast is for the network only. The loss runs outside, on float32 copies of the outputs: sums over a volume
      overflow float16.
    - Nothing waits for the device, except that "fp16" reads one flag per step, in GradScaler, unless the optimiser is
      a fused one.

    Leave the trainer's own `amp` and `accumulation_steps` off, and `decollate` False. Events FORWARD_COMPLETED,
    LOSS_COMPLETED, BACKWARD_COMPLETED and MODEL_COMPLETED fire once per iteration: the first three in the last chunk.

    Args:
        micro_batch: most samples that pass the network at once; None takes the whole batch.
        amp: see `autocast`.
        clip_norm: largest 2-norm of all gradients together, after unscaling; None does not clip.
        seed: the run's seed.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self, micro_batch: int | None = None, amp: str | bool = "off", clip_norm: float | None = None, seed: int = 0
    ) -> None:
        autocast("cpu", amp)  # refuses another word
        if micro_batch is not None and micro_batch < 1:
            raise InputError(f"micro_batch is {micro_batch}; it must be at least 1, or null for the whole batch.")
        if clip_norm is not None and not clip_norm > 0:
            raise InputError(f"clip_norm is {clip_norm}; it must be above 0, or null for no clipping.")
        mix_seed(seed)  # refuses a seed that is not a whole number
        self.micro_batch, self.amp, self.clip_norm, self.seed = micro_batch, str(amp or "off"), clip_norm, seed
        self._scaler: torch.amp.GradScaler | None = None
        self._scaler_state: dict[str, Any] = {}

    def __call__(self, engine: Any, batch: Any) -> list[dict[str, Tensor]]:
        """Run one iteration.

        Args:
            engine: a `SupervisedTrainer`; its prepare_batch gives (inputs, targets), where inputs is (B, ...) and
                targets is such a tensor, a dict, list or tuple of them, or None; or, as MONAI's engines take further
                arguments of the network, (inputs, targets, args, kwargs) with a tuple and a dict of the same.
            batch: what the data loader gave.

        Returns:
            [{"loss": mean loss of the batch, a detached scalar on the device}], also in `engine.state.output`: the form
            from which the default transforms of MONAI's logging handlers, MLflow's among them, take the loss.
        """
        torch.manual_seed(mix_seed(self.seed, engine.state.iteration))
        prepared = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets, *further = map_tensors(tuple(prepared), _plain)
        scaler = self._get_scaler(engine.state.device) if self.amp == "fp16" else None
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        engine.state.output = []
        self._accumulate(engine, (inputs, *(further or [(), {}])), targets, scaler)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self._update(engine.optimizer, scaler)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def state_dict(self) -> dict[str, Any]:
        """State of the loss scale (float16 only), for a checkpoint; numbers only."""
        return {"scaler": self._scaler.state_dict() if self._scaler is not None else self._scaler_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; it takes effect at the next iteration."""
        self._scaler, self._scaler_state = None, state["scaler"]

    def _get_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        if self._scaler is None:  # built late: only the engine knows the device
            self._scaler = torch.amp.GradScaler(device.type)
            if self._scaler_state:
                self._scaler.load_state_dict(self._scaler_state)
        return self._scaler

    def _accumulate(self, engine: Any, inputs: Any, targets: Any, scaler: torch.amp.GradScaler | None) -> None:
        """Forward and backward over the chunks; gradients are left in the parameters, the loss in the engine."""
        size = inputs[0].shape[0]
        step = min(self.micro_batch or size, size)
        total: Tensor | None = None
        for start in range(0, size, step):
            rows = slice(start, start + step)
            last = start + step >= size
            # DistributedDataParallel need only exchange gradients once they are complete.
            quiet = nullcontext() if last or not hasattr(engine.network, "no_sync") else engine.network.no_sync()
            with quiet:
                given, wanted = map_tensors((inputs, targets), lambda value, rows=rows: value[rows])
                loss = self._forward(engine, given, wanted, last)
                loss = loss * (min(step, size - start) / size)
                total = loss.detach() if total is None else total + loss.detach()
                if last:
                    engine.state.output = [{"loss": total}]
                    engine.fire_event(IterationEvents.LOSS_COMPLETED)
                (loss if scaler is None else scaler.scale(loss)).backward()

    def _forward(self, engine: Any, inputs: Any, targets: Any, last: bool) -> Tensor:
        """Mean loss of one chunk; `inputs` are (image, args, kwargs) of the network."""
        image, args, kwargs = inputs
        with autocast(engine.state.device, self.amp):
            prediction = engine.inferer(image, engine.network, *args, **kwargs)
        if last:
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        return engine.loss_function(map_tensors(prediction, widen), targets).mean()

    def _update(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        if self.clip_norm is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
