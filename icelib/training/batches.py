"""Training images, on the device or streamed to it: shuffling and augmentation of many at once."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

from icelib.models import normalize

PADDING = 4  # pixels around an image before it is cropped back to its size
RESIDENT_SHARE = 0.2  # of a device's memory that one set may take; the network needs the rest


WHOLE = (0, 1)  # the first of one part


def hold(images, device, part=WHOLE):
    """Hold training images on the device, or stream them if they are too many.

    It goes by the sizes alone, not by what is free, so that a run is the same each time.

    Parameters
    ----------
    images : Tensor of uint8, shape (N, 3, 32, 32)
    device : torch.device
    part : (int, int)
        Which of how many equal parts of each batch to make. All parts of a batch, drawn with
        generators in the same state, are the batch.

    Returns
    -------
    Images or StreamedImages
    """
    if device.type == "cuda":
        padded = images.nbytes / 32**2 * (32 + 2 * PADDING) ** 2
        if padded > RESIDENT_SHARE * torch.cuda.get_device_properties(device).total_memory:
            return StreamedImages(images, device, part)
    return Images(images, device, part)


def share(count, part):
    """Slice of a batch of `count` images that is a part of it, see `hold`."""
    number, parts = part
    size = count // parts
    return slice(number * size, (number + 1) * size)


class Images:
    """Training images on the device, drawn in random order with random crops and flips.

    Parameters
    ----------
    images : Tensor of uint8, shape (N, 3, 32, 32)
    device : torch.device
    part : (int, int)
        See `hold`.
    """

    def __init__(self, images, device, part=WHOLE):
        self.part = part
        padded = F.pad(images.to(device), (PADDING,) * 4)
        self.pixels = padded.permute(0, 2, 3, 1).contiguous()  # (N, 40, 40, 3)

    def __len__(self):
        return len(self.pixels)

    def order(self, steps, batch, generator):
        """Draw the images of each step: (steps, batch) int64.

        They are cut from whole random permutations, one after another, so no image is drawn more
        than once oftener than another.
        """
        return _order(len(self), steps, batch, generator)

    def augmented(self, index, generator):
        """Crop at random from the padded images and mirror each with probability ½.

        Parameters
        ----------
        index : Tensor of int64, shape (B,)
            Of the whole batch, whatever the part.
        generator : torch.Generator

        Returns
        -------
        Tensor of uint8, shape (B / parts, 3, 32, 32), channels last in memory
        """
        return _crops(self.pixels, index[share(len(index), self.part)], len(index), generator, self.part)


class StreamedImages:
    """The same from the host's memory, for sets that are too large for the device's.

    A thread gathers the images of the next steps into page-locked buffers, and copies to the
    device run while it computes.

    Parameters
    ----------
    images : Tensor of uint8, shape (N, 3, 32, 32), on the host
    device : torch.device
    part : (int, int)
        See `hold`; no more than the part is gathered.
    """

    AHEAD = 3  # steps

    def __init__(self, images, device, part=WHOLE):
        self.images, self.device, self.part = images, device, part
        self.gatherer = ThreadPoolExecutor(1)
        self.waiting, self.rest = deque(), iter(())

    def __len__(self):
        return len(self.images)

    def order(self, steps, batch, generator):
        """Draw the images of each step, on the host: (steps, batch) int64; begin to gather them."""
        if generator.device.type != "cpu":
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            generator = torch.Generator().manual_seed(seed.item())
        order = _order(len(self), steps, batch, generator)
        self.waiting.clear()
        self.rest = iter(order)
        # one more than are ahead: the one that is being copied
        shape, pin = (batch // self.part[1], *self.images.shape[1:]), self.device.type == "cuda"
        self.buffers = deque(
            [torch.empty(shape, dtype=torch.uint8, pin_memory=pin), None] for _ in range(self.AHEAD + 1)
        )
        for _ in range(self.AHEAD):
            self._gather_next()
        return order

    def augmented(self, index, generator):
        """Crop and mirror the images of the next step of `order`; see `Images.augmented`.

        Raises
        ------
        ValueError
            If `index` is not the next row of the order.
        """
        expected, slot, gathered = self.waiting.popleft() if self.waiting else (None, None, None)
        if expected is None or not torch.equal(index, expected):
            raise ValueError("streamed images can be had in the drawn order only, each step once")
        self._gather_next()
        gathered.result()
        batch = slot[0].to(self.device, non_blocking=True)
        if self.device.type == "cuda":
            slot[1] = torch.cuda.current_stream().record_event()
        padded = F.pad(batch, (PADDING,) * 4).permute(0, 2, 3, 1)  # (B, 40, 40, 3)
        return _crops(padded, torch.arange(len(batch), device=self.device), len(index), generator, self.part)

    def _gather_next(self):
        index = next(self.rest, None)
        if index is not None:
            self.buffers.rotate(-1)
            slot = self.buffers[0]
            self.waiting.append((index, slot, self.gatherer.submit(self._gather, index, slot)))

    def _gather(self, index, slot):
        if slot[1] is not None:
            slot[1].synchronize()  # in this thread: the last copy out of the buffer is done
        torch.index_select(self.images, 0, index[share(len(index), self.part)], out=slot[0])


def _order(count, steps, batch, generator):
    rounds = -(-steps * batch // count)
    orders = [torch.randperm(count, generator=generator, device=generator.device) for _ in range(rounds)]
    return torch.cat(orders)[: steps * batch].view(steps, batch)


def _crops(pixels, index, batch, generator, part):
    """Random crops and mirrors of padded images (N, 40, 40, 3) → (B, 3, 32, 32), for a part of a batch."""
    size, device = pixels.shape[1] - 2 * PADDING, pixels.device
    steps = torch.arange(size, device=device)
    own = share(batch, part)  # random numbers are drawn for all, so that they do not depend on the parts
    corner = torch.randint(2 * PADDING + 1, (2, batch, 1), generator=generator, device=device)[:, own]
    mirror = torch.randint(2, (batch, 1), generator=generator, device=device)[own].bool()
    rows = corner[0] + steps  # (B, 32)
    columns = corner[1] + torch.where(mirror, steps.flip(0), steps)  # (B, 32)
    crops = pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, 32, 32, 3)
    return crops.permute(0, 3, 1, 2)


@torch.no_grad()
def predict(model, images, precision, batch=1000, features=False):
    """Run a network over images in evaluation mode.

    Parameters
    ----------
    model : Classifier
    images : Tensor of uint8, shape (N, 3, 32, 32), on any device
    precision : torch.dtype
        Of the backbone; the head is always in float32.
    batch : int
    features : bool
        Return features instead of logits.

    Returns
    -------
    Tensor of float32, shape (N, K) or (N, d)
        On the network's device.
    """
    device = next(model.parameters()).device
    model.eval()
    outputs = []
    for part in images.split(batch):
        x = normalize(part.to(device)).to(memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            outputs.append(model.features(x) if features else model(x))
    return torch.cat(outputs).float()
