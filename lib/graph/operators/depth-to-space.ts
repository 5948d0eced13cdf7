import { agree } from '../../sizes/conditions';
import { floorOf, times } from '../../sizes/size';
import { BOOLEAN, integers } from './fields';
import {
  expectChannels,
  expectImage,
  type NodeOf,
  type Operator,
  ShapeMismatch,
  type Two,
  Unwritable,
} from './operator';

/** Channels are [block_h, block_w, C] (or [C, block_h, block_w], `channels_first`). */
export interface DepthToSpaceNode extends NodeOf<'depth_to_space'> {
  readonly block: Two;
  readonly channels_first: boolean;
}

/** The way back: blocks of pixels become channels, in the order that DepthToSpaceNode tells. */
export interface SpaceToDepthNode extends NodeOf<'space_to_depth'> {
  readonly block: Two;
  readonly channels_first: boolean;
}

/** From here on SpaceToDepth has modes. */
const CHANNELS_FIRST = 28;

export const depthToSpace: Operator<DepthToSpaceNode> = {
  inputs: 1,
  fields: { block: integers<Two>(2, 1), channels_first: BOOLEAN },
  shape({ block: [down, across] }, [input]) {
    const [n, channels, height, width] = expectChannels(input);
    if (channels % (down * across) !== 0)
      throw new ShapeMismatch(`${channels} channels are no whole number of blocks of ${down}x${across}`);
    return [n, channels / (down * across), times(height, down), times(width, across)];
  },
  channels: ({ block: [down, across] }, [input]) => (input === undefined ? undefined : input / (down * across)),
  native: ({ block, channels_first }) => ({ kind: 'depthToSpace', ints: [...block, channels_first ? 1 : 0] }),
  steps: (node, engine) => engine[engine.isImages() ? 'images' : 'tensor'](depthToSpace.native!(node, engine.weight)),
  onnx({ inputs, block: [down, across], channels_first }) {
    if (down !== across) throw new Unwritable(`blocks of ${down}x${across}`);
    return {
      opType: 'DepthToSpace',
      inputs,
      attributes: { blocksize: down, mode: channels_first ? 'CRD' : 'DCR' },
    };
  },
};

export const spaceToDepth: Operator<SpaceToDepthNode> = {
  inputs: 1,
  fields: { block: integers<Two>(2, 1), channels_first: BOOLEAN },
  shape({ block: [down, across] }, [input]) {
    const [n, channels, height, width] = expectImage(input);
    const [rows, columns] = [floorOf(height, down), floorOf(width, across)];
    if (!agree(times(rows, down), height) || !agree(times(columns, across), width))
      throw new ShapeMismatch(`${height}x${width} pixels are no whole number of blocks of ${down}x${across}`);
    return [n, times(channels, down * across), rows, columns];
  },
  channels: ({ block: [down, across] }, [input]) => (input === undefined ? undefined : input * down * across),
  magnitude: (node) => node,
  native: ({ block, channels_first }) => ({ kind: 'spaceToDepth', ints: [...block, channels_first ? 1 : 0] }),
  steps: (node, engine) => engine[engine.isImages() ? 'images' : 'tensor'](spaceToDepth.native!(node, engine.weight)),
  onnx({ inputs, block: [down, across], channels_first }, { opset }) {
    if (down !== across) throw new Unwritable(`blocks of ${down}x${across}`);
    if (channels_first && opset < CHANNELS_FIRST)
      throw new Unwritable(`blocks of pixels as channels of their own before opset ${CHANNELS_FIRST}`);
    return {
      opType: 'SpaceToDepth',
      inputs,
      attributes: { blocksize: down, ...(channels_first ? { mode: 'CRD' } : {}) },
    };
  },
};
