"""Training steps of a Llama with Bone blocks in PyTorch, one for each line read.

Usage: torch_step.py '{"Vocab": 512, "Dim": 64, ...}'. It writes PyTorch's
version and threads when it is ready, then "done" behind each step. Weights and
data are random: what is measured is time.
"""

import json
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F


class Bone(nn.Module):
    """A frozen linear layer and a block D (r, out): y = x W + fold(x) D."""

    def __init__(self, n_in, n_out, r):
        super().__init__()
        self.base = nn.Linear(n_in, n_out, bias=False)
        self.base.weight.requires_grad_(False)
        self.block = nn.Parameter(torch.zeros(r, n_out))

    def forward(self, x):
        r = self.block.shape[0]
        if short := -x.shape[-1] % r:
            padded = F.pad(x, (0, short))
        else:
            padded = x
        s = padded.reshape(*x.shape[:-1], -1, r).sum(-2)
        return self.base(x) + s @ self.block


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim), requires_grad=False)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gamma


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.width = c["Heads"], c["KV"], c["Dim"] // c["Heads"]
        dim, kv, hidden, r = c["Dim"], self.kv * self.width, c["Hidden"], c["Rank"]
        self.q, self.k, self.v, self.o = Bone(dim, dim, r), Bone(dim, kv, r), Bone(dim, kv, r), Bone(dim, dim, r)
        self.gate, self.up, self.down = Bone(dim, hidden, r), Bone(dim, hidden, r), Bone(hidden, dim, r)
        self.norm1, self.norm2 = Norm(dim), Norm(dim)

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        h = self.norm1(x)
        q = turn(self.q(h).view(b, t, self.heads, self.width).transpose(1, 2), cos, sin)
        k = turn(self.k(h).view(b, t, self.kv, self.width).transpose(1, 2), cos, sin)
        v = self.v(h).view(b, t, self.kv, self.width).transpose(1, 2)
        if self.kv != self.heads:
            k, v = (z.repeat_interleave(self.heads // self.kv, 1) for z in (k, v))
        p = torch.softmax(q @ k.transpose(2, 3) * self.width**-0.5 + mask, -1)
        x = x + self.o((p @ v).transpose(1, 2).reshape(b, t, -1))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def turn(x, cos, sin):
    """Rotary position embedding, halves."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c["Vocab"], c["Dim"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["Layers"]))
        self.norm = Norm(c["Dim"])
        self.head = nn.Linear(c["Dim"], c["Vocab"], bias=False)
        for p in (self.embed.weight, self.head.weight):
            p.requires_grad_(False)
        t, width = c["Seq"], c["Dim"] // c["Heads"]
        at = torch.outer(torch.arange(t).float(), 10000 ** (-torch.arange(0, width, 2) / width))
        self.tables = at.cos(), at.sin(), torch.full((t, t), float("-inf")).triu(1)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, *self.tables)
        return self.head(self.norm(x))


def main():
    c = json.loads(sys.argv[1])
    torch.set_num_threads(c["Threads"])
    torch.manual_seed(1)
    model = Llama(c)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(c["Vocab"], (c["Batch"], c["Seq"]))
    print(f"{torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for _ in sys.stdin:
        optimizer.zero_grad(set_to_none=True)
        logits = model(ids)[:, :-1]
        F.cross_entropy(logits.reshape(-1, c["Vocab"]), ids[:, 1:].reshape(-1)).backward()
        optimizer.step()
        print("done", flush=True)


main()
