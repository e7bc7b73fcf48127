"""A custom layer type with its own parameters; once registered, it has shapes, PyTorch and ONNX forms like any other."""

import protogen

PROTOTXT = """
name: "custom"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "act" type: "HardSwish" bottom: "conv" top: "act" hard_swish_param { offset: 2 } }
"""


@protogen.register("HardSwish")
class HardSwish(protogen.LayerType):
    """x * min(max(x + offset, 0), width) / width."""

    param_name = "hard_swish_param"
    param_fields = {"offset": 3.0, "width": 6.0}  # noqa: RUF012

    def setup(self):
        self.check(self.param.width > 0, f"width must be positive, not {self.param.width:g}")
        self.tops = [self.bottoms[0]]

    def forward(self, x, *, blobs, training):
        return x * (x + self.param.offset).clamp(0, self.param.width) / self.param.width

    def onnx(self, graph, bottoms, blobs):
        x = bottoms[0]
        gate = graph.clip(graph.add("Add", x, graph.scalar(self.param.offset)), 0.0, self.param.width)
        return graph.add("Div", graph.add("Mul", x, gate), graph.scalar(self.param.width))


net = protogen.loads(PROTOTXT)
print(net.summary())
print(protogen.verify(net).verdict)

b = protogen.NetBuilder("built")  # the builder supports the type and its fields, too
b.input("data", (1, 3, 8, 8))
b.layer("HardSwish", "data", name="act", width=4)
print(b.build().to_prototxt())
