"""ICE on a folder of one's own images, with a backbone of torchvision.

    python examples/finetune_own_images.py KNOWN OUTLIERS [--score FOLDER] [--weights WEIGHTS.pt]

KNOWN has a folder of images, of any size, for each class; those in OUTLIERS are of none of them and are trained on.
Files are read as docs/data.md says of images of one's own. A fifth of each known class is held out, which gives the
accuracy and a threshold that 95 % of them pass; each image in FOLDER is then printed with its nearest class, or as an
outlier. WEIGHTS.pt is a state_dict of the backbone's model as torchvision publishes it; without it training starts from
random weights, and takes more epochs and images.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models, transforms

from icelib import GaussianHead, ICELoss
from icelib.data import images as image_files
from icelib.scores import max_likelihood


class Images(torch.utils.data.Dataset):
    """Images (3, size, size) of files with their labels, −1 of outliers."""

    def __init__(self, files, size, augment=False):
        self.files = files
        crop = [transforms.RandomResizedCrop(size, (0.5, 1.0)), transforms.RandomHorizontalFlip()]
        whole = [transforms.Resize(size), transforms.CenterCrop(size)]
        scale = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's weights
        self.transform = transforms.Compose([*(crop if augment else whole), transforms.ToTensor(), scale])

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        path, label = self.files[i]
        try:
            return self.transform(image_files.read(path)), label
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise ValueError(f"{path} is not a readable image: {error}") from error


def divided(folder):
    """Pairs of path and label to hold out, a fifth of each class, and to train on; names of the classes."""
    paths, labels, classes = image_files.listed(folder)
    if labels is None:
        raise ValueError(f"{folder} has images beside its folders; expected each in the folder of its class")
    order = torch.randperm(len(paths)).tolist()
    by_class = [[(paths[i], label) for i in order if labels[i] == label] for label in range(len(classes))]
    held_out, training = [], []
    for pairs in by_class:
        held_out += pairs[: len(pairs) // 5]
        training += pairs[len(pairs) // 5 :]
    if not held_out:
        found = {name: len(pairs) for name, pairs in zip(classes, by_class)}
        raise ValueError(f"{folder} has images {found}; expected five or more of a class, of which a fifth is held out")
    return held_out, training, classes


@torch.no_grad()
def outputs(network, images, batch):
    """Outputs of a network, and labels, of all images, in equal batches: batch norm cannot take a rest of one."""
    parts = torch.arange(len(images)).tensor_split(-(-len(images) // batch))
    pairs = [(network(x), y) for x, y in DataLoader(images, batch_sampler=[part.tolist() for part in parts])]
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def main(arguments=None):
    """Train on two folders and score a third; print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("known", type=Path)
    parser.add_argument("outliers", type=Path)
    parser.add_argument("--score", type=Path, help="folder of images to tell apart")
    parser.add_argument("--model", default="resnet18", help="of torchvision.models, with a last layer `fc`")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("ice.pt"))
    options = parser.parse_args(arguments)
    torch.manual_seed(0)

    held_out, training, classes = divided(options.known)
    outliers = [(path, -1) for path in image_files.listed(options.outliers)[0]]
    batch = min(options.batch, len(training))

    backbone = models.get_model(options.model, weights=None)
    if options.weights:
        backbone.load_state_dict(torch.load(options.weights, weights_only=True))
    features, backbone.fc = backbone.fc.in_features, nn.Identity()
    head, loss = GaussianHead(features, len(classes)), ICELoss(weight=0.5)
    backbone.train(not options.weights)  # normalised by the batch while running means are none
    head.estimate(*outputs(backbone, Images(training, options.size), batch))

    network = nn.Sequential(backbone, head)
    groups = [{"params": backbone.parameters()}, {"params": head.parameters(), "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, weight_decay=5e-4)
    images = Images(training + outliers, options.size, augment=True)
    batches = DataLoader(images, batch, shuffle=True, drop_last=True)  # as in `outputs`
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(batches))
    network.train()
    for epoch in range(options.epochs):
        for x, y in batches:
            optimizer.zero_grad()
            terms = loss.terms(network(x), y)
            sum(terms.values()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        last = ", ".join(f"{name} {term.item():.3f}" for name, term in terms.items())
        print(f"epoch {epoch + 1} of {options.epochs}: {last}", flush=True)

    network.eval()
    torch.save({"model": options.model, "classes": classes, "state": network.state_dict()}, options.out)
    logits, y = outputs(network, Images(held_out, options.size), batch)
    accuracy, threshold = (logits.argmax(1) == y).double().mean().item(), max_likelihood(logits).quantile(0.05).item()
    print(f"accuracy on {len(y)} held-out images {accuracy:.1%}; an outlier has a score below {threshold:.3g}")
    rows = []
    if options.score:
        paths = image_files.listed(options.score)[0]
        logits, _ = outputs(network, Images([(path, -1) for path in paths], options.size), batch)
        for path, score, nearest in zip(paths, max_likelihood(logits).tolist(), logits.argmax(1).tolist()):
            rows.append((path, score, classes[nearest] if score >= threshold else "outlier"))
            print(f"{path}: {score:.3g}, {rows[-1][2]}")
    return {"accuracy": accuracy, "threshold": threshold, "rows": rows}


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # names file or folder
        sys.exit(f"error: {error}")
