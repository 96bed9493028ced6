"""The table that ``summary`` prints."""

from .graph import Graph


def summary_lines(name: str, graph: Graph) -> list[str]:
    """Layers, output shapes and numbers of weights."""
    shapes = {node.layer: [t.shape for t in node.outputs] for node in reversed(graph.nodes)}
    rows = [("Layer (type)", "Output shape", "Weights")]
    for layer in graph.layers:
        shown = ", ".join(str(shape) for shape in shapes.get(layer, []))
        rows.append((f"{layer.name} ({type(layer).__name__})", shown, f"{layer.count_params():,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    total = sum(layer.count_params() for layer in graph.layers)
    trained = sum(p.value.size for layer in graph.layers for p in layer.trainable_weights)
    rule = "-" * max(map(len, lines))
    figures = [
        f"Weights: {total:,} ({total * 4 / 2**20:,.2f} MB)",
        f"Trainable: {trained:,}",
        f"Frozen: {total - trained:,}",
    ]
    return [f"Model: {name}", rule, lines[0], rule, *lines[1:], rule, *figures]
