"""ICE on a folder of one's own images, with a backbone of torchvision.

    python examples/finetune_own_images.py KNOWN OUTLIERS [--score FOLDER] [--weights WEIGHTS.pt]

KNOWN has a folder of images, of any size, for each class; those in OUTLIERS are of none of them and are trained on. A
fifth of the known images is held out, which gives the accuracy and a threshold that 95 % of them pass; each image in
FOLDER is then printed with its nearest class, or as an outlier. WEIGHTS.pt is a state_dict of the backbone's model as
torchvision publishes it; without it training starts from random weights, and takes more epochs and images.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from icelib import GaussianHead, ICELoss
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
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # conversion would cut them off at 255
                raise ValueError(f"{path} has values of mode {image.mode}; expected 8 bits a channel")
            return self.transform(ImageOps.exif_transpose(image).convert("RGB")), label


def below(folder):
    """Paths of all images in a folder and those in it."""
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in datasets.folder.IMG_EXTENSIONS)
    if not found:
        raise SystemExit(f"{folder} has no image; expected one of {', '.join(datasets.folder.IMG_EXTENSIONS)}")
    return found


@torch.no_grad()
def outputs(network, images, batch):
    """Outputs of a network, and labels, of all images; in training mode of whole batches."""
    pairs = [(network(x), y) for x, y in DataLoader(images, batch, drop_last=network.training)]
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

    known = datasets.ImageFolder(options.known)
    order = torch.randperm(len(known)).tolist()
    held_out = [known.samples[i] for i in order[: len(order) // 5]]
    training = [known.samples[i] for i in order[len(order) // 5 :]]
    outliers = [(path, -1) for path in below(options.outliers)]
    batch = min(options.batch, len(training))

    backbone = models.get_model(options.model, weights=None)
    if options.weights:
        backbone.load_state_dict(torch.load(options.weights, weights_only=True))
    features, backbone.fc = backbone.fc.in_features, nn.Identity()
    head, loss = GaussianHead(features, len(known.classes)), ICELoss(weight=0.5)
    backbone.train(not options.weights)  # normalised by the batch while running means are none
    head.estimate(*outputs(backbone, Images(training, options.size), batch))

    network = nn.Sequential(backbone, head)
    groups = [{"params": backbone.parameters()}, {"params": head.parameters(), "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, weight_decay=5e-4)
    images = Images(training + outliers, options.size, augment=True)
    batches = DataLoader(images, batch, shuffle=True, drop_last=True)  # batch norm cannot train on a rest of one
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
    torch.save({"model": options.model, "classes": known.classes, "state": network.state_dict()}, options.out)
    logits, y = outputs(network, Images(held_out, options.size), batch)
    accuracy, threshold = (logits.argmax(1) == y).double().mean().item(), max_likelihood(logits).quantile(0.05).item()
    print(f"accuracy on {len(y)} held-out images {accuracy:.1%}; an outlier has a score below {threshold:.3g}")
    rows = []
    if options.score:
        paths = below(options.score)
        logits, _ = outputs(network, Images([(path, -1) for path in paths], options.size), batch)
        for path, score, nearest in zip(paths, max_likelihood(logits).tolist(), logits.argmax(1).tolist()):
            rows.append((path, score, known.classes[nearest] if score >= threshold else "outlier"))
            print(f"{path}: {score:.3g}, {rows[-1][2]}")
    return {"accuracy": accuracy, "threshold": threshold, "rows": rows}


if __name__ == "__main__":
    main()
