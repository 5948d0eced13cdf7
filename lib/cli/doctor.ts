import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { version } from '../../package.json';
import { RepfuseError } from '../errors';
import { info } from '../native/info';
import { EXIT, type Session } from './session';

export function doctorCommand(session: Session): Command {
  return new Command('doctor')
    .description('Tell what works on this machine: the native addon, CPU levels, threads, build tools.')
    .option('--json', 'print as JSON')
    .addHelpText('after', '\nExample:\n  $ repfuse doctor')
    .action(async (flags: { json?: true }) => {
      session.json = flags.json === true;
      const report = examineMachine();
      if (session.json) session.jsonResult(report);
      else session.result(describe(report));
      if (report.addon.error !== null) session.exitCode = EXIT.failed;
    });
}

function examineMachine() {
  const environment = Object.fromEntries(
    ['REPFUSE_NATIVE_PATH', 'REPFUSE_ISA', 'REPFUSE_NUM_THREADS'].map((name) => [name, process.env[name] ?? null]),
  );
  return {
    version,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    environment,
    addon: examineAddon(),
    buildTools: Object.fromEntries(['python3', 'make', 'g++', 'cmake'].map((tool) => [tool, toolVersion(tool)])),
  };
}

function examineAddon(): { info: ReturnType<typeof info> | null; error: string | null } {
  try {
    return { info: info(), error: null };
  } catch (error) {
    if (!(error instanceof RepfuseError)) throw error;
    return { info: null, error: `${error.code}: ${error.message}` };
  }
}

function toolVersion(tool: string): string | null {
  const { status, stdout } = spawnSync(tool, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0]! : null;
}

function describe({
  version: own,
  node,
  platform,
  environment,
  addon,
  buildTools,
}: ReturnType<typeof examineMachine>): string {
  const lines = [`repfuse ${own}, Node ${node}, ${platform}`];
  for (const [name, value] of Object.entries(environment)) if (value !== null) lines.push(`${name}=${value}`);
  if (addon.info === null) {
    lines.push(addon.error!);
  } else {
    const { isa, isasAvailable, threads, cpuQuota, kernels } = addon.info;
    lines.push(`native addon: loaded; kernels ${kernels.gemm}`);
    lines.push(`CPU level: ${isa} (available: ${isasAvailable.join(', ')})`);
    lines.push(`threads: ${threads}${cpuQuota === null ? '' : ` (cgroup quota: ${cpuQuota} CPUs)`}`);
  }
  for (const [tool, found] of Object.entries(buildTools)) lines.push(`${tool}: ${found ?? 'not found'}`);
  return lines.join('\n');
}
