// RepVGG: 1x1 + BN, 3x3 + BN and BN of the input, summed, then ReLU.
// The article's size is 50x512x49x49 (--full: 1.5 GB and about half a minute on two cores); by default it is 2x64x49x49.
const { RepBlock } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors, trainBatchNorms } = require('./support/random.cjs');

const [batch, channels] = process.argv.includes('--full') ? [50, 512] : [2, 64];
const random = randomTensors(1);
const input = random([batch, channels, 49, 49]);
const block = new RepBlock(channels, channels);
trainBatchNorms(random, block);

const parametersBefore = block.parameterCount;
const before = block.forward(input);
block._switch_to_deploy();
const after = block.forward(input);

console.log(`parameters ${parametersBefore} -> ${block.parameterCount}`);
compare('RepBlock', before, after);
