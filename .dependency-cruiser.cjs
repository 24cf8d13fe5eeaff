// A folder imports only from folders listed before it (docs/architecture.md).
const order = ["generated", "emit", "memory", "io", "exits", "cpu", "device", "devices", "machine", "node", "cli"];

const rules = order.map((folder, index) => ({
  name: `order-${folder}`,
  comment: `src/${folder} imports only from the floors below it`,
  severity: "error",
  from: { path: `^src/${folder}/`, pathNot: "\\.test\\.ts$" },
  to: {
    path: order
      .slice(index + 1)
      .map((above) => `^src/${above}/`)
      .concat("^src/index\\.ts$"),
  },
}));

module.exports = {
  forbidden: [
    ...rules,
    {
      name: "devices-never-see-the-cpu",
      severity: "error",
      from: { path: "^src/(device|devices)/" },
      to: { path: "^src/(cpu|exits)/" },
    },
    {
      name: "core-runs-in-a-browser",
      comment: "only node/ and cli/ may use Node's own modules",
      severity: "error",
      from: { path: "^src/(?!node/|cli/)", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["core"] },
    },
    { name: "no-circular", severity: "error", from: { path: "^src/" }, to: { circular: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js"], conditionNames: ["import", "types"] },
  },
};
