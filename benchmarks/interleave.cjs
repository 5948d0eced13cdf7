/**
 * Times several bodies in turn, round by round (A B C, A B C, ...), so that a machine whose speed drifts slows all of them
 * alike. Returns the median milliseconds of each, and a function for the median of the ratios within a round.
 */
function interleave(bodies, rounds) {
  const names = Object.keys(bodies);
  const times = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) bodies[name](); // warm-up
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const started = performance.now();
      bodies[name]();
      times[name].push(performance.now() - started);
    }
  }
  return {
    milliseconds: Object.fromEntries(names.map((name) => [name, median(times[name])])),
    ratio: (a, b) => median(times[a].map((time, round) => time / times[b][round])),
  };
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

module.exports = { interleave, median };
