import { allAgree } from '../../sizes/conditions';
import { sum } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { channelList } from './fields';
import { expectImage, integerTensor, type NodeOf, type Operator, ShapeMismatch } from './operator';

/**
 * Some of an image's channels, in any order (`torch.index_select` of axis 1, of which a channel shuffle is one). Of several images [N, C, H, W] of one
 * size: of their channels one after the other, as `concat` joins them.
 */
export interface SelectChannelsNode extends NodeOf<'select_channels'> {
  readonly channels: readonly number[];
}

const MAX_IMAGES = 1000;

export const selectChannels: Operator<SelectChannelsNode> = {
  inputs: [1, MAX_IMAGES],
  fields: { channels: channelList },
  shape({ channels }, inputs) {
    const images = inputs.map(expectImage);
    const [[n, , ...size]] = images as [(typeof images)[number]];
    const other = images.find(([count, , ...own]) => !allAgree([n, ...size], [count, ...own]));
    if (other !== undefined)
      throw new ShapeMismatch(`shapes ${formatShape(inputs[0])} and ${formatShape(other)} do not fit`);
    const count = sum(...images.map(([, own]) => own));
    const beyond = channels.find((channel) => typeof count === 'number' && channel >= count);
    if (beyond !== undefined) throw new ShapeMismatch(`its input of ${count} channels has no channel ${beyond}`);
    return [n, channels.length, ...size];
  },
  channels: ({ channels }) => channels.length,
  magnitude: (node) => node,
  native: ({ channels }) => ({ kind: 'selectChannels', ints: channels }),
  steps: (node, engine) => engine.images(selectChannels.native!(node, engine.weight)),
  onnx({ id, inputs, channels }) {
    const joined = inputs.length === 1 ? inputs[0]! : `${id}.joined`;
    const attributes = { axis: 1 };
    const gather = { opType: 'Gather', inputs: [joined, integerTensor(channels)], attributes };
    return inputs.length === 1 ? gather : [{ opType: 'Concat', inputs, attributes, part: 'joined' }, gather];
  },
};
