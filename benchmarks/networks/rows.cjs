// The networks of networks.json and real.json, file by file, and where their files lie (REPFUSE_NETWORKS, else a folder of the temporary one).
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const FOLDER = process.env.REPFUSE_NETWORKS ?? join(tmpdir(), 'repfuse-networks');

/** One row for each file: a network that is exported in several ways has several. */
function rowsOf({ exports = [], ...row }) {
  if (exports.length === 0)
    return [{ ...row, id: row.network, export: row.source === 'built' ? 'built' : 'as published' }];
  return exports.map((kind) => {
    const [exporter, open] = kind.split('.');
    return { ...row, id: `${row.network}.${kind}`, export: kind, exporter, open: open === 'open' };
  });
}

const ROWS = require('./networks.json').flatMap(rowsOf);
/** Of the size that they are run at, for `npm run bench -- real`. */
const REAL = require('./real.json').flatMap((row) => rowsOf(row).map((each) => ({ ...each, id: `${each.id}.real` })));

module.exports = { FOLDER, ROWS, REAL };
