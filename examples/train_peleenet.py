"""Train PeleeNet for a few steps in PyTorch, and write the weights to a .caffemodel."""

import sys

import torch

import protogen

path = sys.argv[1] if len(sys.argv) > 1 else "peleenet.caffemodel"
net = protogen.models.peleenet(size=32, classes=4, phase="TRAIN")  # inputs: images and labels
model = net.to_torch(seed=0)

torch.manual_seed(0)
images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for step in range(6):
    optimizer.zero_grad()
    loss = model.loss(images, labels)
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.4f}")

for layer in net.param_shapes:
    net.weights[layer] = [tensor.detach().numpy() for tensor in model.caffe_params(layer)]
net.save_caffemodel(path)
print(f"{path}: weights of {len(net.weights)} layers")
