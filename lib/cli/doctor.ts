import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { version } from '../../package.json';
import { RepfuseError } from '../errors';
import { type Info, info } from '../native/info';
import { type AddonOrigin, addonOrigin } from '../native/load';
import { findNodeGyp } from './build-native';
import { EXIT, type Session } from './session';

interface MachineReport {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  /** The variables that steer repfuse; null where unset. */
  readonly environment: Readonly<Record<string, string | null>>;
  /** The native addon, or why it does not load: every place tried is in `details`. */
  readonly addon: (AddonOrigin & Info) | { readonly error: Pick<RepfuseError, 'code' | 'message' | 'details'> };
  /** Version or place of what `repfuse build-native` needs; null where missing. */
  readonly buildTools: Readonly<Record<string, string | null>>;
}

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
      if ('error' in report.addon) session.exitCode = EXIT.failed;
    });
}

function examineMachine(): MachineReport {
  const variables = ['REPFUSE_NATIVE_PATH', 'REPFUSE_ISA', 'REPFUSE_NUM_THREADS'];
  const tools = ['python3', 'make', process.env.CXX || 'g++', 'cmake'];
  return {
    version,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    environment: Object.fromEntries(variables.map((name) => [name, process.env[name] || null])),
    addon: examineAddon(),
    buildTools: {
      ...Object.fromEntries(tools.map((tool) => [tool, toolVersion(tool)])),
      'node-gyp': findNodeGyp() ?? null,
    },
  };
}

function examineAddon(): MachineReport['addon'] {
  try {
    return { ...addonOrigin(), ...info() };
  } catch (error) {
    if (!(error instanceof RepfuseError)) throw error;
    const { code, message, details } = error;
    return { error: { code, message, details } };
  }
}

function toolVersion(tool: string): string | null {
  const { status, stdout } = spawnSync(tool, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0]! : null;
}

function describe({ version: own, node, platform, environment, addon, buildTools }: MachineReport): string {
  const lines = [`repfuse ${own}, Node ${node}, ${platform}`];
  for (const [name, value] of Object.entries(environment)) if (value !== null) lines.push(`${name}=${value}`);
  if ('error' in addon) {
    lines.push(`native addon: NOT LOADED\n${addon.error.code}: ${addon.error.message}`);
  } else {
    const { path, from, isa, isasAvailable, threads, cpuQuota, kernels } = addon;
    lines.push(`native addon: loaded from ${path} (${from}); kernels ${kernels.gemm}, ${kernels.blocked}`);
    lines.push(`CPU level: ${isa} (available: ${isasAvailable.join(', ')})`);
    lines.push(`threads: ${threads}${cpuQuota === null ? '' : ` (cgroup quota: ${cpuQuota} CPUs)`}`);
  }
  for (const [tool, found] of Object.entries(buildTools)) lines.push(`${tool}: ${found ?? 'not found'}`);
  return lines.join('\n');
}
