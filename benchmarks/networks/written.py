"""Networks of the kinds that public detectors, recognisers and generators are, written here from what is known of their structure.

They are small: what matters is which operators their exports hold. NETWORKS: what makes each, by name.
"""

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, kernel=3, stride=1, groups=1, act=nn.ReLU, dilation=1):
    """Convolution, normalisation and activation, as nearly all of these networks have them."""
    padding = dilation * (kernel - 1) // 2
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


def separable(inputs, outputs, kernel=5, stride=1, act=nn.Hardswish):
    return nn.Sequential(conv(inputs, inputs, kernel, stride, inputs, act), conv(inputs, outputs, 1, act=act))


class Pyramid(nn.Module):
    """A backbone that gives features of strides 8, 16 and 32."""

    def __init__(self, widths=(16, 32, 64), act=nn.ReLU, block=conv):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 3, 2, act=act), conv(8, widths[0], 3, 2, act=act))
        before = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(block(a, b, 3, 2, act=act) for a, b in zip(before, widths))

    def forward(self, x):
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class TopDown(nn.Module):
    """A feature pyramid: coarse features are enlarged and added to fine ones."""

    def __init__(self, widths, width, by_size=False):
        super().__init__()
        self.sides = nn.ModuleList(conv(each, width, 1) for each in widths)
        self.smooth = nn.ModuleList(conv(width, width) for _ in widths)
        self.by_size = by_size

    def forward(self, features):
        maps = [side(x) for side, x in zip(self.sides, features)]
        for i in range(len(maps) - 2, -1, -1):
            how = {"size": maps[i].shape[2:]} if self.by_size else {"scale_factor": 2}
            maps[i] = maps[i] + F.interpolate(maps[i + 1], **how, mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, maps)]


def grid_of(x, stride):
    """Centres of the cells of a map, as [H * W, 2]."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device, dtype=x.dtype)
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    return (torch.stack([right, down], -1).reshape(-1, 2) + 0.5) * stride


def rows_of(x):
    """[N, C, H, W] as [N, H * W, C]."""
    return x.flatten(2).permute(0, 2, 1)


class FocusDetector(nn.Module):
    """Like YOLOX: a stem that gathers pixels by slices, decoupled heads, boxes decoded with a grid and exponentials."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = conv(12, 16, act=nn.SiLU)
        self.stages = nn.ModuleList([conv(16, 16, 3, 4, act=nn.SiLU), conv(16, 32, 3, 2, act=nn.SiLU)])
        self.towers = nn.ModuleList(conv(each, 16, act=nn.SiLU) for each in (16, 32))
        self.boxes, self.object, self.classes = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 1, 1), nn.Conv2d(16, classes, 1)

    def forward(self, x):
        corners = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        x = self.stem(torch.cat(corners, 1))
        found = []
        for stage, tower, stride in zip(self.stages, self.towers, (8, 16)):
            x = stage(x)
            y = tower(x)
            boxes = rows_of(self.boxes(y))
            centres = boxes[..., :2] * stride + grid_of(y, stride)
            sizes = torch.exp(boxes[..., 2:4]) * stride
            scores = rows_of(torch.cat([self.object(y), self.classes(y)], 1)).sigmoid()
            found.append(torch.cat([centres, sizes, scores], -1))
        return torch.cat(found, 1)


class Pooling(nn.Module):
    """Pools of one window after the other, side by side (SPPF)."""

    def __init__(self, width):
        super().__init__()
        self.before, self.after = conv(width, width // 2, 1, act=nn.SiLU), conv(width * 2, width, 1, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        x = [self.before(x)]
        for _ in range(3):
            x.append(self.pool(x[-1]))
        return self.after(torch.cat(x, 1))


class SplitBlock(nn.Module):
    """Half of the channels goes on, and everything on the way is kept (C2f)."""

    def __init__(self, width):
        super().__init__()
        half = width // 2
        self.before, self.after = conv(width, width, 1, act=nn.SiLU), conv(half * 3, width, 1, act=nn.SiLU)
        self.inner = nn.Sequential(conv(half, half, act=nn.SiLU), conv(half, half, act=nn.SiLU))

    def forward(self, x):
        first, second = self.before(x).chunk(2, 1)
        return self.after(torch.cat([first, second, second + self.inner(second)], 1))


class DistributionDetector(nn.Module):
    """Like YOLOv8: split blocks, pyramid both ways, sides of boxes as softmax over bins, decoded."""

    def __init__(self, classes=6, bins=16):
        super().__init__()
        widths = (16, 32, 64)
        self.backbone = Pyramid(widths, nn.SiLU)
        self.blocks = nn.ModuleList(SplitBlock(width) for width in widths)
        self.pool = Pooling(64)
        self.merge = nn.ModuleList([conv(64 + 32, 32, 1, act=nn.SiLU), conv(32 + 16, 16, 1, act=nn.SiLU)])
        self.down, self.joined = conv(16, 32, 3, 2, act=nn.SiLU), conv(64, 32, 1, act=nn.SiLU)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 * bins + classes, 1) for width in (16, 32, 64))
        self.bins, self.classes = bins, classes
        self.expectation = nn.Conv2d(bins, 1, 1, bias=False)
        with torch.no_grad():
            self.expectation.weight.copy_(torch.arange(bins).float().view(1, bins, 1, 1))

    def forward(self, x):
        fine, middle, coarse = [block(y) for block, y in zip(self.blocks, self.backbone(x))]
        coarse = self.pool(coarse)
        middle = self.merge[0](torch.cat([F.interpolate(coarse, scale_factor=2.0), middle], 1))
        fine = self.merge[1](torch.cat([F.interpolate(middle, scale_factor=2.0), fine], 1))
        middle = self.joined(torch.cat([self.down(fine), middle], 1))
        maps = [fine, middle, coarse]
        batch = x.shape[0]
        outputs = torch.cat([head(y).view(batch, 4 * self.bins + self.classes, -1) for head, y in zip(self.heads, maps)], 2)
        sides, scores = outputs.split((4 * self.bins, self.classes), 1)
        sides = sides.view(batch, 4, self.bins, -1).transpose(2, 1).softmax(1)
        sides = self.expectation(sides).view(batch, 4, -1)
        anchors = torch.cat([grid_of(y, 1) for y in maps]).t()
        strides = torch.cat([torch.full((y.shape[2] * y.shape[3],), float(s)) for y, s in zip(maps, (8, 16, 32))]).to(x.dtype)
        before, behind = sides.chunk(2, 1)
        first, last = anchors - before, anchors + behind
        boxes = torch.cat([(first + last) / 2, last - first], 1) * strides
        return torch.cat([boxes, scores.sigmoid()], 1)


class AnchorDetector(nn.Module):
    """Like YOLOv5: three anchors a cell, five axes, boxes squared and scaled by anchors."""

    def __init__(self, classes=4):
        super().__init__()
        self.backbone = Pyramid(act=nn.SiLU)
        self.numbers = classes + 5
        self.heads = nn.ModuleList(nn.Conv2d(width, 3 * self.numbers, 1) for width in (16, 32, 64))
        self.register_buffer("anchors", torch.rand(3, 1, 3, 1, 1, 2) * 50 + 5)

    def forward(self, x):
        found = []
        for i, (head, y) in enumerate(zip(self.heads, self.backbone(x))):
            y = head(y)
            batch, _, height, width = y.shape
            y = y.view(batch, 3, self.numbers, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            stride = 8 * 2**i
            grid = grid_of(torch.zeros(1, 1, height, width).to(x), 1).view(1, 1, height, width, 2) - 1
            centre = (y[..., 0:2] * 2 + grid) * stride
            size = (y[..., 2:4] * 2) ** 2 * self.anchors[i]
            found.append(torch.cat([centre, size, y[..., 4:]], -1).view(batch, -1, self.numbers))
        return torch.cat(found, 1)


def shuffle(x, groups=2):
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleBlock(nn.Module):
    def __init__(self, inputs, outputs, kernel=3, stride=2, act=nn.ReLU):
        super().__init__()
        half = outputs // 2
        self.stride = stride
        near = inputs if stride == 2 else half
        self.side = nn.Sequential(conv(inputs, inputs, kernel, stride, inputs, None), conv(inputs, half, 1, act=act))
        self.main = nn.Sequential(
            conv(near, half, 1, act=act), conv(half, half, kernel, stride, half, None), conv(half, half, 1, act=act))

    def forward(self, x):
        if self.stride == 2:
            return shuffle(torch.cat([self.side(x), self.main(x)], 1))
        first, second = x.chunk(2, 1)
        return shuffle(torch.cat([first, self.main(second)], 1))


class ShuffleDetector(nn.Module):
    """Like NanoDet and PicoDet: shuffled channels, a light pyramid, scores and binned sides in one output."""

    def __init__(self, classes=7, bins=8):
        super().__init__()
        def stage(a, b, kernel, stride, act):
            return nn.Sequential(ShuffleBlock(a, b, kernel, stride, act), ShuffleBlock(b, b, kernel, 1, act))
        self.backbone = Pyramid((16, 32, 64), nn.LeakyReLU, stage)
        self.neck = TopDown((16, 32, 64), 24)
        self.towers = nn.ModuleList(separable(24, 24, act=nn.Hardswish) for _ in range(3))
        self.heads = nn.ModuleList(nn.Conv2d(24, classes + 4 * bins, 1) for _ in range(3))
        self.classes, self.bins = classes, bins
        self.register_buffer("steps", torch.arange(bins).float())

    def forward(self, x):
        found = []
        for tower, head, y in zip(self.towers, self.heads, self.neck(self.backbone(x))):
            y = rows_of(head(tower(y)))
            scores, sides = y.split([self.classes, 4 * self.bins], -1)
            sides = F.softmax(sides.reshape(x.shape[0], -1, 4, self.bins), -1)
            found.append(torch.cat([scores.sigmoid(), F.linear(sides, self.steps[None]).squeeze(-1)], -1))
        return torch.cat(found, 1)


class PriorDetector(nn.Module):
    """Like SSD and RetinaFace: priors are constants, boxes are decoded with Exp, scores are softmax."""

    def __init__(self, size=(96, 96), classes=3):
        super().__init__()
        self.backbone = Pyramid()
        self.boxes = nn.ModuleList(nn.Conv2d(width, 2 * 4, 3, padding=1) for width in (16, 32, 64))
        self.scores = nn.ModuleList(nn.Conv2d(width, 2 * classes, 3, padding=1) for width in (16, 32, 64))
        self.classes = classes
        count = sum(2 * (size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
        self.register_buffer("priors", torch.rand(1, count, 4) * 0.5 + 0.1)

    def forward(self, x):
        features = self.backbone(x)
        def together(heads, numbers):
            return torch.cat([h(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, numbers) for h, y in zip(heads, features)], 1)
        boxes, scores = together(self.boxes, 4), together(self.scores, self.classes)
        centres = self.priors[..., :2] + boxes[..., :2] * 0.1 * self.priors[..., 2:]
        sizes = self.priors[..., 2:] * torch.exp(boxes[..., 2:] * 0.2)
        corners = torch.cat([centres - sizes / 2, centres + sizes / 2], -1).clamp(0, 1)
        return corners, scores.softmax(-1)


class CentreDetector(nn.Module):
    """Like CenterNet: a heat map, its maxima by a pool and a comparison, the best cells by TopK, gathered."""

    def __init__(self, classes=4, best=6):
        super().__init__()
        self.backbone, self.up = Pyramid(), nn.ConvTranspose2d(64, 16, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.heat, self.size = nn.Conv2d(16, classes, 1), nn.Conv2d(16, 2, 1)
        self.best = best

    def forward(self, x):
        y = F.relu(self.norm(self.up(self.backbone(x)[-1])))
        heat = self.heat(y).sigmoid()
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)
        scores, places = heat.flatten(1).topk(self.best)
        cells = places % (heat.shape[2] * heat.shape[3])
        sizes = rows_of(self.size(y)).gather(1, cells[..., None].expand(-1, -1, 2))
        return torch.cat([scores[..., None], sizes], -1)


class DenseDetector(nn.Module):
    """Like FCOS: group-normalised towers with a learned scale, distances by Exp, centre-ness."""

    def __init__(self, classes=3):
        super().__init__()
        self.backbone, self.neck = Pyramid(), TopDown((16, 32, 64), 16, by_size=True)
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.head, self.scales = nn.Conv2d(16, classes + 5, 3, padding=1), nn.Parameter(torch.rand(3) + 0.5)
        self.classes = classes

    def forward(self, x):
        found = []
        for i, y in enumerate(self.neck(self.backbone(x))):
            scores, sides, centre = self.head(self.tower(y)).split([self.classes, 4, 1], 1)
            sides = torch.exp(sides * self.scales[i])
            found.append(rows_of(torch.cat([(scores.sigmoid() * centre.sigmoid()).sqrt(), sides], 1)))
        return torch.cat(found, 1)


class WeightedPyramid(nn.Module):
    """Like EfficientDet: features are added with learned weights that sum to one, both ways."""

    def __init__(self, width=24):
        super().__init__()
        self.backbone = Pyramid(act=nn.SiLU)
        self.sides = nn.ModuleList(conv(each, width, 1, act=None) for each in (16, 32, 64))
        self.weights = nn.Parameter(torch.rand(4, 2) + 0.1)
        self.nodes = nn.ModuleList(separable(width, width, 3, act=nn.SiLU) for _ in range(4))
        self.head = nn.Conv2d(width, 9, 3, padding=1)

    def merge(self, i, first, second):
        weights = F.relu(self.weights[i])
        weights = weights / (weights.sum() + 1e-4)
        return self.nodes[i](F.silu(weights[0] * first + weights[1] * second))

    def forward(self, x):
        fine, middle, coarse = [side(y) for side, y in zip(self.sides, self.backbone(x))]
        middle = self.merge(0, middle, F.interpolate(coarse, scale_factor=2))
        fine = self.merge(1, fine, F.interpolate(middle, scale_factor=2))
        middle = self.merge(2, middle, F.max_pool2d(fine, 3, 2, 1))
        coarse = self.merge(3, coarse, F.max_pool2d(middle, 3, 2, 1))
        return [self.head(y) for y in (fine, middle, coarse)]


class UNet(nn.Module):
    """Down by pools, up by transposed convolutions, cut or padded to the size of the other half."""

    def __init__(self, transposed=True):
        super().__init__()
        widths = (8, 16, 32)
        self.first = conv(3, widths[0])
        self.down = nn.ModuleList(conv(a, b) for a, b in zip(widths, widths[1:]))
        self.transposed = transposed
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) if transposed else conv(b, a, 1) for a, b in zip(widths, widths[1:]))
        self.join = nn.ModuleList(conv(2 * a, a) for a in widths[:-1])
        self.last = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x):
        kept = [self.first(x)]
        for down in self.down:
            kept.append(down(F.max_pool2d(kept[-1], 2)))
        y = kept.pop()
        for up, join, side in list(zip(self.up, self.join, kept))[::-1]:
            if self.transposed:
                y = up(y)
                rest = [side.shape[2] - y.shape[2], side.shape[3] - y.shape[3]]
                y = F.pad(y, [rest[1] // 2, rest[1] - rest[1] // 2, rest[0] // 2, rest[0] - rest[0] // 2])
            else:
                y = F.interpolate(up(y), size=side.shape[2:], mode="bilinear", align_corners=True)
            y = join(torch.cat([side, y], 1))
        return self.last(y)


class AtrousSegmenter(nn.Module):
    """Like DeepLab: dilated convolutions and a pooled image side by side, enlarged to the input's size, classes by ArgMax."""

    def __init__(self, classes=5):
        super().__init__()
        self.backbone = Pyramid()
        self.branches = nn.ModuleList([conv(32, 16, 1), *(conv(32, 16, 3, dilation=rate) for rate in (2, 4, 6))])
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(32, 16, 1))
        self.join, self.low = conv(80, 16, 1), conv(16, 8, 1)
        self.last = nn.Sequential(conv(24, 16), nn.Conv2d(16, classes, 1))

    def forward(self, x):
        low, y, _ = self.backbone(x)
        pooled = F.interpolate(self.image(y), size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = self.join(torch.cat([*(branch(y) for branch in self.branches), pooled], 1))
        y = F.interpolate(y, size=low.shape[-2:], mode="bilinear", align_corners=False)
        y = self.last(torch.cat([self.low(low), y], 1))
        scores = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return scores, scores.argmax(1)


class TextDetector(nn.Module):
    """Like the DB head of PP-OCR: features joined at one size, two transposed convolutions with normalisation behind them."""

    def __init__(self):
        super().__init__()
        self.backbone, self.neck = Pyramid(block=separable), TopDown((16, 32, 64), 16)
        self.first = conv(48, 12)
        self.up = nn.Sequential(nn.ConvTranspose2d(12, 12, 2, 2), nn.BatchNorm2d(12), nn.ReLU(), nn.ConvTranspose2d(12, 1, 2, 2))

    def forward(self, x):
        fine, middle, coarse = self.neck(self.backbone(x))
        y = torch.cat([F.interpolate(coarse, scale_factor=4), F.interpolate(middle, scale_factor=2), fine], 1)
        return self.up(self.first(y)).sigmoid()


class TextReader(nn.Module):
    """Like CRNN: columns of an image as a sequence, recurrent layers both ways, characters by softmax."""

    def __init__(self, layer, characters=20):
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 16, stride=2), conv(16, 32), nn.MaxPool2d((2, 1)), conv(32, 32), nn.AdaptiveAvgPool2d((1, None)))
        self.sequence = layer(32, 24, bidirectional=True, batch_first=True)
        self.last = nn.Linear(48, characters)

    def forward(self, x):
        y = self.body(x).squeeze(2).permute(0, 2, 1)
        y, _ = self.sequence(y)
        return self.last(y).softmax(2)


class AttentionReader(nn.Module):
    """Like SVTR: columns of an image as a sequence, attention of several heads, layer normalisation."""

    def __init__(self, width=32, heads=4, characters=20):
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, stride=2), conv(16, width, stride=2, act=nn.GELU))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.last, self.heads, self.width = nn.Linear(width, characters), heads, width

    def forward(self, x):
        y = rows_of(self.body(x))
        batch, length = y.shape[:2]
        q, k, v = self.qkv(self.norms[0](y)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = ((q * (self.width // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        y = y + self.out((weights @ v).transpose(1, 2).reshape(batch, length, self.width))
        y = y + self.mlp(self.norms[1](y))
        return self.last(self.norms[2](y)).softmax(2)


class PixelShuffler(nn.Module):
    """Like ESPCN, EDSR and SRGAN: residual blocks with PReLU, enlarged by moving channels to pixels, beside a plain enlargement."""

    def __init__(self, norm=True, times=2):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.PReLU(16))
        act = conv(16, 16, act=nn.PReLU) if norm else nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.block = nn.Sequential(act, nn.Conv2d(16, 16, 3, padding=1))
        self.last = nn.Sequential(nn.Conv2d(16, 3 * times**2, 3, padding=1), nn.PixelShuffle(times))
        self.times = times

    def forward(self, x):
        y = self.first(x)
        y = y + self.block(y) * 0.1
        plain = F.interpolate(x, scale_factor=self.times, mode="bicubic", align_corners=False)
        return torch.tanh(self.last(y) + plain)


class Stylizer(nn.Module):
    """Like fast style transfer: reflected borders, instance normalisation, enlarged by nearest pixels."""

    def __init__(self):
        super().__init__()
        def layer(inputs, outputs, kernel, stride=1):
            return nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel, stride))
        self.down = nn.Sequential(
            layer(3, 8, 9), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), layer(8, 16, 3, 2), nn.InstanceNorm2d(16, affine=True), nn.ReLU())
        self.inner = nn.Sequential(layer(16, 16, 3), nn.InstanceNorm2d(16, affine=True))
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), layer(16, 8, 3), nn.InstanceNorm2d(8), nn.ELU(), layer(8, 3, 9))

    def forward(self, x):
        y = self.down(x)
        return self.up(y + self.inner(y))


class Hourglass(nn.Module):
    """Half size and back, within itself, and twice; landmarks are the expected places of heat maps."""

    def __init__(self, depth=3, width=16):
        super().__init__()
        self.first = nn.Sequential(conv(3, width, 7, 2), nn.MaxPool2d(2))
        self.levels = nn.ModuleList(nn.ModuleList(conv(width, width) for _ in range(3)) for _ in range(depth))
        self.heat = nn.Conv2d(width, 5, 1)

    def inside(self, x, depth):
        side, down, up = self.levels[depth]
        y = down(F.max_pool2d(x, 2))
        if depth + 1 < len(self.levels):
            y = self.inside(y, depth + 1)
        return side(x) + F.interpolate(up(y), scale_factor=2)

    def forward(self, x):
        heat = self.heat(self.inside(self.first(x), 0))
        weights = heat.flatten(2).softmax(-1)
        return heat, weights @ grid_of(heat, 4)


class StagedPose(nn.Module):
    """Like OpenPose: stages that see the image's features and the maps before, each refining both outputs."""

    def __init__(self, stages=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ELU(), separable(16, 32, 3, 2, nn.ELU), separable(32, 16, 3, act=nn.ELU))
        def stage(inputs, outputs):
            return nn.Sequential(nn.Conv2d(inputs, 16, 7, padding=3), nn.ReLU(), nn.Conv2d(16, outputs, 1))
        self.first = nn.ModuleList([stage(16, 9), stage(16, 6)])
        self.others = nn.ModuleList(nn.ModuleList([stage(31, 9), stage(31, 6)]) for _ in range(stages - 1))

    def forward(self, x):
        y = self.body(x)
        maps = [head(y) for head in self.first]
        for heads in self.others:
            joined = torch.cat([y, *maps], 1)
            maps = [head(joined) for head in heads]
        return maps


class FaceEmbedding(nn.Module):
    """Like MobileFaceNet and ArcFace: PReLU, a depthwise convolution over the whole map, BatchNorm of vectors, length one."""

    def __init__(self, size=(96, 96), width=32):
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, stride=2, act=nn.PReLU), separable(16, width, 3, 2, nn.PReLU), separable(width, width, 3, 2, nn.PReLU))
        self.whole = nn.Conv2d(width, width, (size[0] // 8, size[1] // 8), groups=width, bias=False)
        self.norm, self.last, self.vectors = nn.BatchNorm2d(width), nn.Linear(width, 24, bias=False), nn.BatchNorm1d(24)

    def forward(self, x):
        y = self.norm(self.whole(self.body(x))).flatten(1)
        return F.normalize(self.vectors(self.last(y)))


class Matcher(nn.Module):
    """Two images: features of one searched in the other, as trackers and stereo do; sampled at a computed grid."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, stride=2), conv(16, 16, stride=2))
        self.flow = nn.Conv2d(32, 2, 3, padding=1)

    def forward(self, first, second):
        a, b = self.body(first), self.body(second)
        flow = torch.tanh(self.flow(torch.cat([a, b], 1))).permute(0, 2, 3, 1)
        warped = F.grid_sample(b, flow, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (a * warped).mean(1, keepdim=True), flow


class MobileSegmenter(nn.Module):
    """Like PP-LiteSeg and BiSeNet: pooled context of several sizes, gates of means and maxima over channels."""

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid()
        self.context = nn.ModuleList(conv(64, 16, 1) for _ in range(3))
        self.sides, self.gate, self.last = conv(32, 16, 1), conv(4, 1, act=nn.Sigmoid), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        _, middle, coarse = self.backbone(x)
        pooled = [F.interpolate(layer(F.adaptive_avg_pool2d(coarse, size)), size=middle.shape[2:], mode="bilinear")
                  for layer, size in zip(self.context, (1, 1, 1))]
        y, side = sum(pooled), self.sides(middle)
        seen = [t for x in (y, side) for t in (x.mean(1, keepdim=True), x.max(1, keepdim=True)[0])]
        gate = self.gate(torch.cat(seen, 1))
        return F.interpolate(self.last(y * gate + side * (1 - gate)), scale_factor=16, mode="bilinear")


class SignalNet(nn.Module):
    """Signals of one dimension, as detectors of speech read them."""

    def __init__(self):
        super().__init__()
        def layer(inputs, outputs, stride):
            return nn.Sequential(nn.Conv1d(inputs, outputs, 5, stride, 2), nn.BatchNorm1d(outputs), nn.ReLU())
        self.body = nn.Sequential(layer(1, 16, 4), layer(16, 32, 4), nn.MaxPool1d(2), layer(32, 32, 2))
        self.last = nn.Linear(32, 2)

    def forward(self, x):
        return self.last(self.body(x).mean(-1)).softmax(-1)


def pair(batch, height, width):
    return torch.randn(batch, 3, height, width), torch.randn(batch, 3, height, width)


NETWORKS = {
    "focus_detector": FocusDetector,
    "distribution_detector": DistributionDetector,
    "anchor_detector": AnchorDetector,
    "shuffle_detector": ShuffleDetector,
    "prior_detector": PriorDetector,
    "centre_detector": CentreDetector,
    "dense_detector": DenseDetector,
    "weighted_pyramid": WeightedPyramid,
    "unet": UNet,
    "unet_bilinear": lambda: UNet(transposed=False),
    "atrous_segmenter": AtrousSegmenter,
    "mobile_segmenter": MobileSegmenter,
    "text_detector": TextDetector,
    "text_reader_lstm": lambda: TextReader(nn.LSTM),
    "text_reader_gru": lambda: TextReader(nn.GRU),
    "text_reader_attention": AttentionReader,
    "super_resolution": PixelShuffler,
    "super_resolution_plain": lambda: PixelShuffler(norm=False, times=3),
    "stylizer": Stylizer,
    "hourglass": Hourglass,
    "staged_pose": StagedPose,
    "face_embedding": FaceEmbedding,
    "matcher": Matcher,
    "signal_net": SignalNet,
}

# What they are given, where it is no batch of images: batch, height, width to tensors.
INPUTS = {"matcher": pair, "signal_net": lambda batch, height, width: (torch.randn(batch, 1, height * width),)}
