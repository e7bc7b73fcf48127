"""A custom block: a function with `@protogen.block` prefixes names, is a group in summaries and can nest."""

import protogen


@protogen.block
def ghost(b, x, channels, *, stride=1):
    """GhostNet's module: a 1x1 convolution computes half of the channels, a cheap depthwise one derives the other half."""
    first = b.conv_block(x, channels // 2, 1, stride=stride, name="primary")
    b.depthwise_conv(first, 3, pad=1, bias_term=False, name="cheap")
    second = b.relu(b.bn())
    return b.concat(first, second, name=".")


@protogen.block
def stage(b, x, channels, depth):
    """Blocks nest: a strided ghost module, then `depth` of them with shortcuts."""
    x = ghost(b, x, channels, stride=2)
    for i in range(depth):
        x = b.eltwise(x, ghost(b, x, channels, name=f"ghost{i + 2}"), name=f"sum{i + 2}")
    return x


b = protogen.NetBuilder("GhostNet-like")
x = b.input("data", (1, 3, 64, 64))
for i, channels in enumerate((16, 32, 64), 1):
    x = stage(b, x, channels, depth=2, name=f"stage{i}")
b.softmax(b.fc(b.global_pool(x), 10, name="classifier"))
net = b.build()
print(net.summary())
