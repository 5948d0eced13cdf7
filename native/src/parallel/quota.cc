// How many CPUs the process may use. os.availableParallelism() of Node 20 does not know of cgroup quotas.
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "repfuse/parallel.h"

namespace repfuse {
namespace {

// "max 100000" or "200000 100000" -> CPUs, 0 for no limit.
double ReadV2(const std::string& file) {
  std::ifstream in(file);
  std::string quota;
  double period = 0;
  if (!(in >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

double ReadV1(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream q(folder + "/cpu.cfs_quota_us"), p(folder + "/cpu.cfs_period_us");
  if (!(q >> quota) || !(p >> period) || quota <= 0 || period <= 0) return 0;
  return quota / period;
}

// A limit set on any ancestor binds too, so the smallest on the way up to the root counts.
template <typename Read>
double SmallestUpwards(const std::string& root, std::string path, Read read) {
  double smallest = 0;
  for (;;) {
    const double cpus = read(root + path);
    if (cpus > 0 && (smallest == 0 || cpus < smallest)) smallest = cpus;
    if (path.empty()) return smallest;
    path.erase(path.find_last_of('/'));
  }
}

std::string Trimmed(std::string path) {
  while (!path.empty() && path.back() == '/') path.pop_back();
  // A namespaced process can see "/../x"; only the root is then meaningful.
  return path.find("..") != std::string::npos || (!path.empty() && path[0] != '/') ? std::string() : path;
}

}  // namespace

double CgroupCpuQuota(const char* root, const char* membership) {
  double smallest = 0;
  const auto keep = [&](double cpus) {
    if (cpus > 0 && (smallest == 0 || cpus < smallest)) smallest = cpus;
  };
  std::ifstream in(membership);
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = Trimmed(line.substr(second + 1));
    if (controllers.empty()) {
      keep(SmallestUpwards(root, path, [](const std::string& folder) { return ReadV2(folder + "/cpu.max"); }));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      keep(SmallestUpwards(std::string(root) + "/cpu", path, ReadV1));
      keep(SmallestUpwards(std::string(root) + "/" + controllers, path, ReadV1));
    }
  }
  return smallest;
}

int DefaultThreads() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  const double quota = CgroupCpuQuota();
  if (quota > 0) cpus = std::min(cpus, static_cast<int>(std::ceil(quota)));
  return std::clamp(cpus, 1, kMaxThreads);
}

}  // namespace repfuse
