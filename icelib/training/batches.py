"""Training images on the device: shuffling and augmentation of many at once."""

import torch
import torch.nn.functional as F

PADDING = 4  # pixels around an image before it is cropped back to its size


class Images:
    """Training images on the device, drawn in random order with random crops and flips.

    Parameters
    ----------
    images : Tensor of uint8, shape (N, 3, 32, 32)
    device : torch.device
    """

    def __init__(self, images, device):
        padded = F.pad(images.to(device), (PADDING,) * 4)
        self.pixels = padded.permute(0, 2, 3, 1).contiguous()  # (N, 40, 40, 3)

    def __len__(self):
        return len(self.pixels)

    def order(self, steps, batch, generator):
        """Draw the images of each step: (steps, batch) int64.

        They are cut from whole random permutations, one after another, so no image is drawn more
        than once oftener than another.
        """
        rounds = -(-steps * batch // len(self))
        orders = [torch.randperm(len(self), generator=generator, device=generator.device) for _ in range(rounds)]
        return torch.cat(orders)[: steps * batch].view(steps, batch)

    def augmented(self, index, generator):
        """Crop at random from the padded images and mirror each with probability ½.

        Parameters
        ----------
        index : Tensor of int64, shape (B,)
        generator : torch.Generator

        Returns
        -------
        Tensor of uint8, shape (B, 3, 32, 32), channels last in memory
        """
        size, device = self.pixels.shape[1] - 2 * PADDING, self.pixels.device
        steps = torch.arange(size, device=device)
        corner = torch.randint(2 * PADDING + 1, (2, len(index), 1), generator=generator, device=device)
        mirror = torch.randint(2, (len(index), 1), generator=generator, device=device).bool()
        rows = corner[0] + steps  # (B, 32)
        columns = corner[1] + torch.where(mirror, steps.flip(0), steps)  # (B, 32)
        crops = self.pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, 32, 32, 3)
        return crops.permute(0, 3, 1, 2)
