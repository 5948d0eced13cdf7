// Compares the output before a conversion with the output after it.

/** The same numbers summed in another order in float32 differ by 1e-7 to 5e-6 of the largest value, the more of them the more. */
const BOUND = 1e-5;

/**
 * Prints the largest difference relative to the peak, max |after - before| / max |before|, and PASS or FAIL, which is the exit
 * code too. A sum of squares, as often printed, grows with the size of the tensor and says nothing without it.
 */
function compare(title, before, after) {
  const { difference, peak } = largestDifference(before, after);
  const relative = peak === 0 ? difference : difference / peak;
  const passed = relative <= BOUND;
  console.log(`${title}: output ${before.shape.join('x')}, largest value ${peak.toPrecision(3)}`);
  console.log(
    `largest difference before and after, relative to that: ${relative.toExponential(1)} (bound ${BOUND.toExponential()})`,
  );
  console.log(passed ? 'PASS' : 'FAIL');
  if (!passed) process.exitCode = 1;
}

function largestDifference(before, after) {
  if (before.shape.join() !== after.shape.join()) return { difference: Number.POSITIVE_INFINITY, peak: 1 };
  let difference = 0;
  let peak = 0;
  for (let i = 0; i < before.size; i++) {
    const d = Math.abs(after.data[i] - before.data[i]);
    if (!(d <= difference)) difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
    peak = Math.max(peak, Math.abs(before.data[i]));
  }
  return { difference, peak };
}

module.exports = { compare };
