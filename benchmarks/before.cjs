// Another checkout of the project, built, to be timed in turn with this one: REPFUSE_BEFORE names its folder.
const { resolve } = require('node:path');

const BEFORE = process.env.REPFUSE_BEFORE === undefined ? undefined : resolve(process.env.REPFUSE_BEFORE);

module.exports = { BEFORE };
