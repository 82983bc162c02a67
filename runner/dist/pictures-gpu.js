var $=class extends Error{constructor(e,r,t){super(r,t===void 0?void 0:{cause:t}),this.code=e,this.name=e==="aborted"?"AbortError":"WebDNNError"}},N=o=>String(Object(o).message??o).trim();function G({name:o,shape:e,image:r},t,n,s){let c=r,i=[t,n],{crop:u}=c;if(c.shorter){let p=c.shorter;i=t<=n?[p,Math.trunc(p*n/t)]:[Math.trunc(p*t/n),p]}else c.resize?i=c.resize:u||(i=et(o,t,n,c,e,s));if(u&&(u[0]>i[0]||u[1]>i[1]))throw new $("image",`input "${o}": expected a picture of at least ${u[0]} \xD7 ${u[1]} pixels, found ${i[0]} \xD7 ${i[1]}`);let f=[0,0,t,n],[a,d]=i;if(u){let p=j((a-u[0])/2),m=j((d-u[1])/2),w=[p,m,p+u[0],m+u[1]];return{out:u,box:f,whole:i,part:w,at:[0,0],pad:void 0}}if(c.fit==="contain"){let p=Math.min(a/t,d/n),m=[t,n].map((h,g)=>Math.min(Math.max(Math.trunc(h*p+.5),1),i[g])),w=m,[l,b,y]=c.pad??[0,0,0];return{out:i,box:f,whole:w,part:[0,0,m[0],m[1]],at:[a-m[0]>>1,d-m[1]>>1],pad:(4278190080|y<<16|b<<8|l)>>>0}}if(c.fit==="cover"&&t*d!==a*n){let[p,m]=t*d>a*n?[0,n*a/d]:[1,t*d/a],w=(f[p+2]-m)/2;[f[p],f[p+2]]=[w,w+m]}return{out:i,box:f,whole:i,part:[0,0,a,d],at:[0,0],pad:void 0}}function et(o,e,r,{longest:t,multiple:n=1},s,c){let[i,u]=s.map(h=>typeof h=="number"?{min:h,max:h}:c.find(g=>g.name===h)),[f,a]=[e,r];typeof s[0]=="string"&&s[0]===s[1]&&(f=a=Math.max(f,a));let d=[u,i].map(({min:h})=>Math.ceil(h/n)*n),p=[u,i].map(({max:h})=>Math.floor(h/n)*n),m=Math.max(d[0]/f,d[1]/a),w=Math.min(p[0]/f,p[1]/a);if(m>w){let h=({min:g=0,max:A=0})=>g===A?`${g}`:`${g}..${A}`;throw new $("dimension",`input "${o}": expected a picture that scales to ${h(u)} by ${h(i)} pixels, found ${e} \xD7 ${r}`)}let l=t?Math.min(1,t/Math.max(f,a)):1,b=Math.min(Math.max(l,m),w),y=(h,g)=>Math.min(Math.max(Math.trunc(h*b/n+.5)*n,d[g]),p[g]);return[y(f,0),y(a,1)]}function j(o){let e=Math.floor(o);return o-e===.5?e+e%2:Math.round(o)}function D(o,e,r,t){let n=Math.fround(e),s=Math.fround(Math.fround(r)-n)/t,c=Math.max(s,1),i=2*Math.ceil(c)+1,u=new Int32Array(t),f=new Int32Array(t),a=new Int32Array(t*i),d=new Float64Array(i);for(let p=0;p<t;p++){let m=n+(p+.5)*s;u[p]=Math.max(Math.trunc(m-c+.5),0),f[p]=Math.min(Math.trunc(m+c+.5),o)-u[p];let w=0;for(let l=0;l<f[p];l++)d[l]=Math.max(0,1-Math.abs((u[p]+l-m+.5)*(1/c))),w+=d[l];for(let l=0;l<f[p];l++)a[p*i+l]=Math.trunc(d[l]*(1/w)*(1<<22)+.5)}return{first:u,count:f,weights:a,widest:i}}var x=o=>Object.prototype.toString.call(o).slice(8,-1);var k={HTMLImageElement:["naturalWidth","naturalHeight","wait for its decode(), or its load event"],HTMLVideoElement:["videoWidth","videoHeight","wait for its loadeddata event"],HTMLCanvasElement:["width","height","give it a width and a height"],OffscreenCanvas:["width","height","give it a width and a height"],ImageBitmap:["width","height","it was closed"],VideoFrame:["displayWidth","displayHeight","it was closed"]},nt="an image, canvas, video, ImageBitmap, VideoFrame, ImageData, Blob, or RGBA bytes as {data, width, height}",ot=o=>["Blob","File"].includes(x(o));function W(o,e){let r=x(e);if(k[r])return rt(o,e,r);let{data:t,width:n,height:s,colorSpace:c,pixelFormat:i}=e??{};if(ot(e))throw new $("option",`input "${o}": a ${r} must be decoded first, which takes a moment: pass it to run(), or what createImageBitmap makes of it to runSync()`);let u=t instanceof Uint8Array||t instanceof Uint8ClampedArray;if(!["ImageData","Object"].includes(r)||n===void 0)throw new $("dtype",`input "${o}": expected ${nt}, found ${it(e)}`);let f=a=>Number.isInteger(a)&&a>0;if(!u||!f(n)||!f(s)||t.length!==4*n*s){let a=t?.length===void 0?"":` of length ${t.length}`;throw new $("image",`input "${o}": expected data to be a Uint8ClampedArray of 4 \xB7 width \xB7 height bytes (RGBA), found ${x(t)}${a} for ${n} \xD7 ${s} pixels`+(i&&i!=="rgba-unorm8"?` of ${i}`:""))}if(c&&c!=="srgb")throw new $("image",`input "${o}": expected ImageData in the colour space srgb, found ${c}; read it with getImageData(\u2026, {colorSpace: 'srgb'})`);return{data:t,width:n,height:s}}function rt(o,e,r){let[t,n,s]=k[r],[c,i]=[e[t],e[n]],u=r==="HTMLVideoElement"&&e.readyState<2;if(!c||!i||u){let f=r==="HTMLImageElement"&&e.complete&&e.src;throw new $("image",`input "${o}": expected a picture with pixels, found `+(f?`an image without a size of its own, or one that could not be loaded (${e.src})`:`${st(r)} ${u?"without a frame yet":`of ${c} \xD7 ${i}`}; ${s}`))}return{width:c,height:i}}function it(o){return typeof o=="string"?`the text ${JSON.stringify(o.slice(0,40))}`:o===null||typeof o!="object"?String(o):x(o)==="Object"?`an object with ${Object.keys(o).join(", ")}`:x(o)}var st=o=>`${/^[AEHIO]/.test(o)?"an":"a"} ${o}`;var T=8,M={MAP_READ:1,COPY_SRC:4,COPY_DST:8,UNIFORM:64,STORAGE:128},V=["validation","out-of-memory"],R={COPY_DST:2,TEXTURE_BINDING:4,RENDER_ATTACHMENT:16},at={HTMLVideoElement:"imported",VideoFrame:"imported",HTMLCanvasElement:"copied",OffscreenCanvas:"copied",ImageBitmap:"copied",HTMLImageElement:"copied"},ct=["ImageBitmap","HTMLImageElement"],X=`
struct Plan {
  source: vec2u,   // the picture's width and height
  between: vec2u,  // columns and rows after the first pass,
  corner: vec2u,   // which begin at this column of the result and this row of the picture
  out: vec2u,
  part: vec2u,     // columns and rows of the result that show the picture,
  at: vec2u,       // which begin here
  top: u32,        // and show it from this row on
  pad: u32,
  white: u32,      // whether it lies on white
}

/** Of the 22 bits of a weight's fraction, half of the last bit that stays. */
const HALF = vec4u(1u << 21u);

fn packed(sum: vec4u) -> u32 {
  let c = sum >> vec4u(22u);
  return c.r | (c.g << 8u) | (c.b << 16u) | (c.a << 24u);
}
`,ut=o=>`${X}
@group(0) @binding(0) var picture: ${o==="imported"?"texture_external":"texture_2d<f32>"};
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<uniform> plan: Plan;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;

fn pixel(at: vec2u) -> vec4u {
${o==="imported"?`
  let place = at * textureDimensions(picture) / plan.source;
  let c = vec4u(saturate(textureLoad(picture, place)) * 255.0 + 0.5);
  if (plan.white == 0u) { return c; }
  return vec4u(min(c.rgb + (255u - c.a), vec3u(255u)), 255u);`:`
  let c = vec4u(textureLoad(picture, at, 0) * 255.0 + 0.5);
  if (plan.white != 0u) {
    return vec4u((c.rgb * c.a + 255u * (255u - c.a) + 127u) / 255u, 255u);
  }
  let product = c.rgb * c.a + 128u;
  return vec4u((product + (product >> vec3u(8u))) >> vec3u(8u), c.a);`}
}

@compute @workgroup_size(${T}, ${T})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (any(id.xy >= plan.between)) { return; }
  let entry = 1u + (id.x + plan.corner.x) * (taps[0] + 2u);
  let first = vec2u(taps[entry], id.y + plan.corner.y);
  var sum = HALF;
  for (var i = 0u; i < taps[entry + 1u]; i++) {
    sum += pixel(first + vec2u(i, 0u)) * taps[entry + 2u + i];
  }
  between[id.y * plan.between.x + id.x] = packed(sum);
}
`,ft=`${X}
@group(0) @binding(0) var<storage, read> between: array<u32>;
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<uniform> plan: Plan;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(${T}, ${T})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (any(id.xy >= plan.out)) { return; }
  let to = id.y * plan.out.x + id.x;
  let place = id.xy - plan.at; // very large to the left and above
  if (any(place >= plan.part)) {
    out[to] = plan.pad;
    return;
  }
  let entry = 1u + (place.y + plan.top) * (taps[0] + 2u);
  let first = taps[entry] - plan.corner.y;
  var sum = HALF;
  for (var i = 0u; i < taps[entry + 1u]; i++) {
    let word = between[(first + i) * plan.between.x + place.x];
    let c = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u);
    sum += c * taps[entry + 2u + i];
  }
  let word = packed(sum);
  let alpha = word >> 24u;
  if (plan.white != 0u) {
    out[to] = word | 0xff000000u;
  } else if (alpha == 0u || alpha == 255u) {
    out[to] = word;
  } else {
    let c = (vec3u(word) >> vec3u(0u, 8u, 16u)) & vec3u(255u);
    let plain = min(255u * c / alpha, vec3u(255u));
    out[to] = plain.r | (plain.g << 8u) | (plain.b << 16u) | (alpha << 24u);
  }
}
`;function Y({first:o,count:e,weights:r,widest:t}){let n=new Uint32Array(1+o.length*(t+2));n[0]=t;for(let s=0;s<o.length;s++)n.set([o[s],e[s]],1+s*(t+2)),n.set(r.subarray(s*t,(s+1)*t),3+s*(t+2));return n}var z=(o,e,r)=>o.createComputePipelineAsync({label:e,layout:"auto",compute:{module:o.createShaderModule({code:r,label:e}),entryPoint:"main"}}),L={signature:{name:"trial",dtype:"uint32",shape:[2,2],image:{channels:"rgb",fit:"stretch",resize:[2,2]}},colours:["rgb(250 30 90)","rgb(20 200 60)","rgb(128 64 192)"],words:[4284096250,4282173460,4290789504,4294967295]},q=class o{#t;#r;#e=new Map;#n=new Map;#o=new WeakMap;constructor(e,r){this.#t=e,this.#r=r}static async on(e){let r=new o(e,await z(e,"picture rows",ft)),t=new OffscreenCanvas(2,2),n=t.getContext("2d");if(L.colours.forEach((s,c)=>{n.fillStyle=s,n.fillRect(c%2,c>>1,1,1)}),await r.#i("copied",t),typeof VideoFrame=="function"&&"importExternalTexture"in e){n.globalCompositeOperation="destination-over",n.fillStyle="white",n.fillRect(0,0,2,2);let s=new VideoFrame(t,{timestamp:0});await r.#i("imported",s),s.close()}return r}async#i(e,r){let t=this.#t;try{let n=await z(t,`picture columns, ${e}`,ut(e));this.#e.set(e,{pipeline:n,layout:n.getBindGroupLayout(0)});let{data:s}=this.#s(e,L.signature,r,2,2,[]),{error:c}=this.#o.get(s),i=t.createBuffer({size:16,usage:M.MAP_READ|M.COPY_DST}),u=t.createCommandEncoder();u.copyBufferToBuffer(s,0,i,0,16),t.queue.submit([u.finish()]),await i.mapAsync(1);let f=new Uint8Array(i.getMappedRange()),a=new Uint8Array(Uint32Array.from(L.words).buffer);if(!await c()&&f.every((d,p)=>Math.abs(d-a[p])<=2))return}catch{}this.#e.delete(e)}paint(e,r,t,n){let s=x(r),c=at[s];if(!this.#e.has(c)||!n&&ct.includes(s))return;let{width:i,height:u}=W(e.name,r);if(!(Math.max(i,u)>this.#t.limits.maxTextureDimension2D))try{return this.#s(c,e,r,i,u,t)}catch(f){if(f instanceof $)throw f;return}}#s(e,r,t,n,s,c){let i=this.#t,{pipeline:u,layout:f}=this.#e.get(e),a=this.#u(r,n,s,c),d=l=>i.createBindGroup({layout:f,entries:[{binding:0,resource:l},...a.across]}),p=()=>{if(e==="imported")return d(i.importExternalTexture({source:t}));if(!a.texture){let l=R.COPY_DST|R.TEXTURE_BINDING|R.RENDER_ATTACHMENT;a.texture=i.createTexture({size:[n,s],format:"rgba8unorm",usage:l}),a.made.push(a.texture),a.group=d(a.texture.createView())}return i.queue.copyExternalImageToTexture({source:t},{texture:a.texture},[n,s]),a.group},m=()=>{let l=p(),b=a.spare.pop()??this.#c(a),y=i.createCommandEncoder(),h=y.beginComputePass();for(let[g,A,[E,v]]of[[u,l,a.between],[this.#r,b.group,a.out]])h.setPipeline(g),h.setBindGroup(0,A),h.dispatchWorkgroups(Math.ceil(E/T),Math.ceil(v/T));return h.end(),i.queue.submit([y.finish()]),b};for(let l of V)i.pushErrorScope(l);let w=Promise.resolve(void 0);try{let l=m(),{buffer:b}=l;return this.#o.set(b,{result:l,place:a,error:()=>w}),{data:b,shape:[a.out[1],a.out[0]]}}finally{w=Promise.all(V.map(()=>i.popErrorScope())).then(l=>l.find(Boolean),()=>{})}}#c({out:e,down:r}){let t=this.#t,n=4*e[0]*e[1],s=t.createBuffer({size:n,usage:M.STORAGE|M.COPY_SRC}),c=t.createBindGroup({layout:this.#r.getBindGroupLayout(0),entries:[...r,{binding:3,resource:{buffer:s}}]});return{buffer:s,group:c}}#u(e,r,t,n){let s=this.#t,{name:c,image:i}=e,u=`${r} ${t}`,f=this.#n.get(c);if(f?.key===u)return f;let{out:a,box:d,whole:p,part:m,at:w,pad:l=0}=G(e,r,t,n),[b,y,h,g]=m,A=D(r,d[0],d[2],p[0]),E=D(t,d[1],d[3],p[1]),v=E.first[y],J=E.first[g-1]+E.count[g-1],B=[h-b,J-v],C=[],O=(I,tt,F)=>{let S=s.createBuffer({size:I,usage:tt|M.COPY_DST});return F&&s.queue.writeBuffer(S,0,F),C.push(S),{buffer:S}},H=Uint32Array.of(r,t,...B,b,v,...a,h-b,g-y,...w,y,l,+(i?.channels!=="rgba"),0),K=[Y(A),Y(E)],[Q,Z]=K.map(I=>O(I.byteLength,M.STORAGE,I)),P=O(H.byteLength,M.UNIFORM,H),U=O(4*B[0]*B[1],M.STORAGE),_={key:u,out:a,made:C,between:B,spare:[],across:[{binding:1,resource:Q},{binding:2,resource:P},{binding:3,resource:U}],down:[{binding:0,resource:U},{binding:1,resource:Z},{binding:2,resource:P}]};return f&&this.#a(f),this.#n.set(c,_),_}#a({made:e,spare:r}){for(let t of e)t.destroy();for(let{buffer:t}of r)t.destroy()}async again(e){for(let r of e){let t=this.#o.get(r);if(!t)continue;this.#o.delete(r),[...this.#n.values()].includes(t.place)?t.place.spare.push(t.result):t.result.buffer.destroy();let n=await t.error();if(n)throw this.#e.clear(),new $("driver",`the graphics driver could not resize the picture: ${N(n)}. Run it again: pictures are resized by the processor from now on.`,n)}}dispose(){for(let e of this.#n.values())this.#a(e);this.#n.clear()}};export{q as Painter};
