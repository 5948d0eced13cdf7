import { readOnnx } from '../../lib/onnx';

const LINEAR = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

/** The BatchNormalizations of a model whose input comes straight from a Conv, ConvTranspose, Gemm or MatMul: a complete fold leaves none. */
export async function normsBehindLinear(file: string): Promise<string[]> {
  const { node: nodes } = (await readOnnx(file)).proto.graph;
  const producer = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node.opType] as const)));
  return nodes
    .filter(({ opType, input }) => opType === 'BatchNormalization' && LINEAR.has(producer.get(input[0]!) ?? ''))
    .map(({ name }) => name);
}
