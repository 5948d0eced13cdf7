import {
  RESIZE_ASPECTS,
  RESIZE_COORDINATES,
  RESIZE_MODES,
  RESIZE_NEAREST,
  type ResizeOptions,
} from '../../ops/tensor-op';
import { floorOf, type Size, times } from '../../sizes/size';
import { Tensor } from '../../tensor/tensor';
import { BOOLEAN, NUMBER, numbers, oneOf, sizeList } from './fields';
import {
  expectImage,
  integerTensor,
  type NodeOf,
  type NodeSize,
  type Operator,
  ShapeMismatch,
  settled,
  sizesIn,
  type Two,
  Unwritable,
} from './operator';

/** Of height and width, as ONNX's Resize; of two inputs to the size of the second. */
export interface ResizeNode extends NodeOf<'resize'>, Omit<ResizeOptions, 'sizes'> {
  readonly sizes: readonly [NodeSize, NodeSize];
}

/** From here on there are axes, antialias and keep_aspect_ratio_policy. */
const NEWER_RESIZE = 18;

export const resize: Operator<ResizeNode> = {
  inputs: [1, 2],
  fields: {
    mode: oneOf(RESIZE_MODES),
    coordinates: oneOf(RESIZE_COORDINATES),
    nearest: oneOf(RESIZE_NEAREST),
    aspect: oneOf(RESIZE_ASPECTS),
    exclude_outside: BOOLEAN,
    antialias: BOOLEAN,
    cubic_a: NUMBER,
    extrapolation: NUMBER,
    scales: numbers<Two>(2),
    sizes: sizeList<ResizeNode['sizes']>(2, 0),
    crop: numbers<ResizeOptions['crop']>(4),
  },
  sizes: ['sizes'],
  shape({ coordinates, aspect, crop, scales, sizes: own }, [input, like]) {
    const [n, channels, ...from] = expectImage(input);
    const wanted = like === undefined ? sizesIn(own) : expectImage(like).slice(2);
    const known = [...from, ...wanted].every((size) => typeof size === 'number');
    const ratios = known
      ? from.map((size, i) => (wanted[i] as number) / (size as number)).filter((each) => each > 0)
      : [];
    const to = from.map((size, i) => {
      if (wanted[i] === 0) {
        const share = coordinates === 'tf_crop_and_resize' ? crop[i + 2]! - crop[i]! : 1;
        return scaled(size, share * scales[i]!);
      }
      if (aspect === 'stretch') return wanted[i]!;
      if (typeof size !== 'number' || !known) throw new ShapeMismatch(`an aspect that is kept of an open size`);
      const ratio = aspect === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
      return Math.floor(ratio * size + 0.5);
    });
    return [n, channels, ...to];
  },
  keepsChannels: () => true,
  keepsImages: true,
  native: ({ id, op, inputs, sizes: wanted, ...options }) => ({
    kind: 'resize',
    resize: { ...options, sizes: settled(wanted) as unknown as Two },
  }),
  steps: (node, engine) => engine[engine.isImages() ? 'images' : 'tensor'](resize.native!(node, engine.weight)),
  onnx(node, { opset }) {
    const { inputs, scales, crop, aspect, antialias, coordinates } = node;
    const sizes = settled(node.sizes);
    const newer = opset >= NEWER_RESIZE;
    if (inputs.length > 1) throw new Unwritable('a size that is that of another value by one operator');
    const bySizes = sizes.every((size) => size > 0);
    if (!bySizes && (sizes.some((size) => size > 0) || !scales.every((scale) => scale > 0)))
      throw new Unwritable('a size of one axis and a scale of another');
    if (!newer && (antialias || aspect !== 'stretch' || coordinates === 'half_pixel_symmetric'))
      throw new Unwritable(`such a Resize before opset ${NEWER_RESIZE}`);
    // Before opset 18 all axes have a scale or a size: that of the batch is not known.
    if (bySizes && !newer) throw new Unwritable(`a Resize to sizes before opset ${NEWER_RESIZE}`);
    const [top, left, bottom, right] = crop;
    const roi = newer ? crop : [0, 0, top, left, 1, 1, bottom, right];
    const factors = newer ? scales : [1, 1, ...scales];
    return {
      opType: 'Resize',
      inputs: [
        ...inputs,
        coordinates === 'tf_crop_and_resize' ? Tensor.f32([roi.length], roi) : null,
        bySizes ? null : Tensor.f32([factors.length], factors),
        bySizes ? integerTensor(sizes) : null,
      ],
      attributes: {
        mode: node.mode,
        coordinate_transformation_mode: coordinates,
        nearest_mode: node.nearest,
        cubic_coeff_a: { float: node.cubic_a },
        exclude_outside: node.exclude_outside,
        extrapolation_value: { float: node.extrapolation },
        ...(newer ? { axes: [2, 3], antialias, keep_aspect_ratio_policy: aspect } : {}),
      },
    };
  },
};

/** floor(size * scale); of an open size, whose product is not rounded, for scales that are few halvings of a whole number. */
function scaled(size: Size, scale: number): Size {
  if (typeof size === 'number') return Math.floor(size * scale);
  const parts = 2 ** 10;
  if (!Number.isInteger(scale * parts)) throw new ShapeMismatch(`a scale of ${scale} of an open size`);
  return floorOf(times(size, scale * parts), parts);
}
