/** Milliseconds of CPU time that this process spends on it, whatever else the machine does meanwhile. */
export async function cpuTimeOf(body: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await body();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
