"""The style sheet of the profile page: light and dark, wide and narrow, no font or file from elsewhere."""

STYLE = """
:root { color-scheme: light dark;
  --page:#f6f7f9; --card:#fff; --ink:#1b2330; --soft:#5c6778; --line:#e2e6ec; --accent:#2f6fde;
  --good:#2a8a57; --warn:#a86a00; --bad:#c0392b;
  --c0:#3b76d9; --c1:#e08a2e; --c2:#3fa36c; --c3:#b8569b; --c4:#7a68c8; --c5:#2ba5b5; --c6:#c9a227; --c7:#d25b5b;
  --c8:#86a83f; --c9:#9a7560; --c10:#8c98a8; }
@media (prefers-color-scheme: dark) { :root {
  --page:#12161d; --card:#1b212b; --ink:#e8ecf2; --soft:#9aa6b8; --line:#2c3543; --accent:#7aa8ff;
  --good:#5fcf94; --warn:#f0b64e; --bad:#ff8577;
  --c0:#6a9bf0; --c1:#f0a659; --c2:#63c48e; --c3:#d884be; --c4:#a192e6; --c5:#58c6d4; --c6:#e0c256; --c7:#ee8585;
  --c8:#aecb6b; --c9:#c2a08c; --c10:#8391a5; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif; }
main { max-width:1120px; margin:0 auto; padding:28px 20px 64px; }
h1 { font-size:27px; line-height:1.2; margin:0 0 4px; letter-spacing:-.01em; }
h2 { font-size:21px; margin:48px 0 14px; padding-top:20px; border-top:1px solid var(--line);
  text-transform:capitalize; }
h3 { font-size:15px; margin:0 0 10px; }
p { margin:0 0 8px; } .soft { color:var(--soft); } small { font-size:12.5px; color:var(--soft); }
nav { margin-top:14px; display:flex; gap:8px; flex-wrap:wrap; }
nav a { color:var(--accent); text-decoration:none; padding:4px 12px; border:1px solid var(--line); border-radius:99px;
  background:var(--card); } nav a:hover, nav a:focus { border-color:var(--accent); }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin-bottom:12px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px 18px; min-width:0; }
.tile b { display:block; font-size:25px; line-height:1.2; font-variant-numeric:tabular-nums; letter-spacing:-.02em; }
.tile span { color:var(--soft); font-size:13px; }
h3.over { margin:24px 0 0; }
.two { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(430px,100%),1fr)); gap:12px; margin-top:12px; }
.wide { margin-top:12px; }
.stack { display:flex; height:26px; border-radius:7px; overflow:hidden; background:var(--line); }
.stack i { display:block; min-width:2px; }
.key { display:flex; flex-wrap:wrap; gap:4px 18px; margin:12px 0 0; padding:0; list-style:none; font-size:13.5px; }
.key i { display:inline-block; width:10px; height:10px; border-radius:3px; margin-right:6px; }
.key b { font-weight:600; font-variant-numeric:tabular-nums; }
.b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}
.b4{background:var(--c4)}.b5{background:var(--c5)}.b6{background:var(--c6)}.b7{background:var(--c7)}
.b8{background:var(--c8)}.b9{background:var(--c9)}.b10{background:var(--c10)}
.chart { width:100%; height:auto; display:block; } .chart text { fill:var(--soft); font-size:12px; }
.chart .grid { stroke:var(--line); } .chart .line { fill:none; stroke:var(--c0); stroke-width:2.5; }
.chart .under { fill:var(--c0); opacity:.13; } .chart .dot { fill:var(--c0); }
.c0{fill:var(--c0)}.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}
.c4{fill:var(--c4)}.c5{fill:var(--c5)}.c6{fill:var(--c6)}.c7{fill:var(--c7)}
.c8{fill:var(--c8)}.c9{fill:var(--c9)}.c10{fill:var(--c10)}
.scroll { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:13.5px; }
th { text-align:left; font-weight:600; color:var(--soft); padding:4px 12px 6px 0; white-space:nowrap; }
td { padding:6px 12px 6px 0; border-top:1px solid var(--line); vertical-align:top; }
td.num, th.num { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
.meter { display:flex; align-items:center; gap:8px; min-width:130px; }
.meter u { flex:1; height:8px; border-radius:4px; background:var(--line); overflow:hidden; }
.meter u i { display:block; height:100%; background:var(--c1); }
.meter em { font-style:normal; width:48px; text-align:right; font-variant-numeric:tabular-nums; }
.rows { display:grid; grid-template-columns:minmax(70px,34%) 1fr auto; gap:5px 10px; align-items:center;
  font-size:13.5px; }
.rows span { overflow:hidden; text-overflow:ellipsis; white-space:nowrap; }
.rows u { height:10px; border-radius:4px; } .rows u i { display:block; height:100%; border-radius:4px; min-width:2px; }
.rows b { font-weight:500; text-align:right; font-variant-numeric:tabular-nums; }
.reason { display:flex; justify-content:space-between; gap:12px; } .reason b { font-variant-numeric:tabular-nums; }
.sample { border-top:1px solid var(--line); padding:7px 0 5px; font-size:12.5px; overflow-wrap:anywhere; }
.sample span { margin-right:12px; display:inline-block; max-width:100%; }
.sample span b { font-weight:400; color:var(--soft); }
.pass { color:var(--good); } .warn { color:var(--warn); } .block { color:var(--bad); } .verdict { font-weight:600; }
@media (max-width:560px) { main { padding:18px 12px 48px; } .card { padding:13px; } h1 { font-size:23px; }
  .chart text { font-size:15.5px; } .wide .chart { min-width:640px; }
  .wide .chart text { font-size:13px; } }
"""
